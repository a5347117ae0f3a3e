"""Pages in docs/ of which a part is made by a benchmark."""

from pathlib import Path

from cvae_jax.files import write_atomically

END = "<!-- end -->"


def write_part(page: Path, start: str, text: str) -> None:
    """Puts `text` between the marker `start` and END; what stands around them stays."""
    whole = page.read_text()
    before, after = whole.partition(start)[0], whole.partition(END)[2]
    write_atomically(page, f"{before}{start}\n\n{text}\n\n{END}{after}")
