"""Pages in docs/ of which a part is made by a benchmark, and the pictures beside them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from cvae_jax.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

END = "<!-- end -->"


def write_part(page: Path, start: str, text: str) -> None:
    """Puts `text` between the marker `start` and END; what stands around them stays."""
    whole = page.read_text()
    before, after = whole.partition(start)[0], whole.partition(END)[2]
    write_atomically(page, f"{before}{start}\n\n{text}\n\n{END}{after}")


def png(figure: Figure) -> bytes:
    """The bytes of a figure as a PNG file, the same for the same figure."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()
