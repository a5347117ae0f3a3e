from importlib import metadata

import pytest

from cvae_jax import launcher

FLAG = "--xla_cpu_use_fusion_emitters"


@pytest.mark.parametrize(
    ("jaxlib", "given", "expected"),
    [
        ("0.10.2", "", f"{FLAG}=false"),
        ("0.10.2", "--xla_other=1", f"--xla_other=1 {FLAG}=false"),
        ("0.10.2", f"{FLAG}=true", f"{FLAG}=true"),
        ("0.12.0", "", ""),  # whose XLA ends a process that names it
    ],
)
def test_the_emitters_are_chosen_where_xla_lets_one_unless_the_user_has(
    monkeypatch, jaxlib, given, expected
):
    monkeypatch.setattr(metadata, "version", lambda name: {"jaxlib": jaxlib}[name])
    assert launcher.xla_flags(given) == expected
