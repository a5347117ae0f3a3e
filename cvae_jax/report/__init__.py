"""One self-contained page about one or several runs.

`runs` reads a workdir, `tables` and `charts` choose what is shown of it, `drawing` draws a chart,
and `page` puts all of it into `page.html.jinja`.
"""

from cvae_jax.report.page import write_report

__all__ = ["write_report"]
