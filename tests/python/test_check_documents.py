"""Checks that `check_documents.py` notices words that leave their page or lie on others."""

import subprocess
import tempfile
import unittest
from pathlib import Path

import check_documents


def page(*words: tuple[float, float, float, str]) -> bytes:
    """A page of 400 by 300 points in PDF, with words at a place, in a size."""
    drawn = "".join(f"BT /F {size} Tf {left} {bottom} Td ({text}) Tj ET\n" for left, bottom, size, text in words)
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 300]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        f"<</Length {len(drawn)}>>stream\n{drawn}endstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, places = "%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 6\n0000000000 65535 f \n{table}trailer<</Size 6/Root 1 0 R>>\nstartxref\n{len(out)}\n%%EOF\n"
    return (out + end).encode("ascii")


class Layout(unittest.TestCase):
    """Places of words, by `pdftotext -bbox`."""

    def misplaced(self, *words: tuple[float, float, float, str], watermark: str = "") -> list[str]:
        """What is out of place on a page with these words."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "page.pdf"
            file.write_bytes(page(*words))
            run = subprocess.run(["pdftotext", "-bbox", file, "-"], capture_output=True, check=True)
        return check_documents.misplaced(run.stdout.decode("utf-8"), watermark)

    def test_lines_below_and_beside_each_other(self) -> None:
        """Nothing is out of place."""
        self.assertEqual(self.misplaced((40, 200, 9, "net"), (90, 200, 9, "1,234.56"), (40, 190, 9, "tax")), [])

    def test_a_word_on_another(self) -> None:
        """One that begins before the one beside it ends, one half a line above, one on the same place."""
        long = (40, 200, 9, "a-long-name-of-a-model")
        for other in [(100, 200, 9, "1,234.56"), (60, 204, 9, "tax"), (40, 200, 8, "other")]:
            with self.subTest(other=other):
                found = self.misplaced(long, other)
                self.assertEqual(len(found), 1, found)
                self.assertIn("lies on", found[0])

    def test_a_word_beyond_the_edge(self) -> None:
        """On each side, and where a part of it is cut."""
        for word in [(2, 200, 9, "left"), (370, 200, 9, "right-and-on"), (200, 293, 9, "top"), (200, 5, 9, "bottom")]:
            with self.subTest(word=word):
                found = self.misplaced((100, 100, 9, "inside"), word)
                self.assertEqual(len(found), 1, found)
                self.assertIn("is beyond the edge", found[0])

    def test_a_watermark(self) -> None:
        """Its letters may lie on words, and nothing else that is as large, nor in a document without one."""
        word, letter = (100, 120, 9, "1,234.56"), (95, 100, 150, "D")
        self.assertEqual(self.misplaced(word, letter, watermark="DRAFT"), [])
        self.assertEqual(len(self.misplaced(word, letter)), 1)
        self.assertEqual(len(self.misplaced(word, (95, 100, 150, "X"), watermark="DRAFT")), 1)

    def test_an_empty_page(self) -> None:
        """A page without words is not a page."""
        self.assertEqual(self.misplaced(), ["page 1 is empty"])


if __name__ == "__main__":
    unittest.main()
