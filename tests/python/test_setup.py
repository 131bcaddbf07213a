"""scripts/setup.sh names what is missing, and the command that installs it; with nothing missing it says so.

Everything that it looks for is a stand-in in a folder that is all of its PATH, and one of them at a time is taken away.
"""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

SETUP = Path(__file__).parents[2] / "scripts" / "setup.sh"
# What the script itself is written with.
SHELL = ["bash", "cat", "cut", "dirname", "head", "mkdir", "sed", "sort", "tr"]
ANSWERS = {"java": "echo 'openjdk version \"21.0.4\"' >&2", "go": "echo go1.25.0", "find": "echo /fonts/NotoSansCJK-Regular.ttc"}
# Command, the package that brings it, and the part that needs it.
PACKAGES = [
    ("cc", "build-essential", "build"), ("c++", "build-essential", "build"), ("make", "make", "build"),
    ("mold", "mold", "build"), ("curl", "curl", "build"), ("python3", "python3", "build"), ("perl", "perl", "build"),
    ("git", "git", "lint"), ("shellcheck", "shellcheck", "lint"),
    ("java", "default-jre-headless", "test"), ("ps", "procps", "test"), ("python3", "python3-venv", "test"),
    ("psql", "postgresql-client", "test"), ("find", "fonts-noto-cjk", "test"), ("pdftotext", "poppler-utils", "test"),
    ("openssl", "openssl", "test"), ("script", "bsdutils", "test"), ("mvn", "maven", "test"),
]  # fmt: skip
OTHERS = ["rustup", "rustfmt", "cargo-clippy", "helm", "versitygw"]


class Setup(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "path"
        self.path.mkdir()
        for name in SHELL:
            (self.path / name).symlink_to(shutil.which(name))
        for name in {command for command, _, _ in PACKAGES} | {*OTHERS, "go"}:
            self.put(name, ANSWERS.get(name, "exit 0"))
        self.put("id", "echo 1000")

    def put(self, name: str, script: str) -> None:
        (self.path / name).write_text(f"#!{shutil.which('bash')}\n{script}\n")
        (self.path / name).chmod(0o755)

    def without(self, *names: str) -> None:
        for name in names:
            (self.path / name).unlink()

    def setup(self, *parts: str, **env: str) -> tuple[int, list[str], str]:
        env = {"PATH": str(self.path), "HOME": str(self.folder), "TALLY_CACHE": str(self.folder / "cache"),
               "CARGO_TARGET_DIR": str(self.folder / "target"), "TALLY_SETUP_INSTALL": "1", **env}
        run = subprocess.run([shutil.which("bash"), SETUP, *parts], env=env, capture_output=True, text=True)
        return run.returncode, run.stderr.splitlines(), run.stdout

    def test_each_missing_command_is_named_with_what_installs_it(self) -> None:
        for command, package, part in PACKAGES:
            with self.subTest(command=command, part=part):
                kept = (self.path / command).read_text()
                self.without(command)
                code, said, out = self.setup(part)
                self.put(command, kept.split("\n", 1)[1])
                self.assertEqual((code, said[0]), (1, "setup: these are missing. Install each with:"), said)
                # More than one only where python3 itself is away.
                self.assertEqual(len(said), 2, said)
                self.assertRegex(said[1], f"sudo apt-get install -y ([a-z0-9-]+ )*{package} ")
                self.assertNotIn("is here", out)

    def test_what_no_package_brings_is_named_too(self) -> None:
        for names, part, words in [
            (["rustup"], "build", "rustup toolchain install"),
            (["rustfmt"], "lint", "rustup component add"),
            (["cargo-clippy"], "lint", "rustup component add"),
            (["helm", "go"], "lint", "https://helm.sh/docs/intro/install"),
            (["versitygw", "go"], "test", "https://go.dev/doc/install"),
        ]:
            with self.subTest(names=names):
                self.without(*names)
                code, said, _ = self.setup(part)
                for name in names:
                    self.put(name, ANSWERS.get(name, "exit 0"))
                self.assertEqual((code, len(said)), (1, 2), said)
                self.assertIn(words, said[1])

    def test_everything_that_is_missing_is_named_at_once(self) -> None:
        self.without("rustup", "java", "psql", "mold")
        code, said, _ = self.setup("build", "test")
        self.assertEqual(code, 1)
        text = "\n".join(said)
        for words in ["rustup", "default-jre-headless mold postgresql-client: sudo apt-get install -y default-jre-headless mold"]:
            self.assertIn(words, text)

    def test_an_old_version_is_missing(self) -> None:
        self.put("java", "echo 'openjdk version \"11.0.2\"' >&2")
        code, said, _ = self.setup("test")
        self.assertEqual(code, 1)
        self.assertIn("default-jre-headless", said[1])

    def test_root_installs_what_is_missing(self) -> None:
        self.put("id", "echo 0")
        self.put("apt-get", f"echo \"$@\" >>{self.folder}/asked")
        self.without("mold")
        code, said, out = self.setup("build")
        self.assertEqual((code, said), (0, []), out)
        asked = (self.folder / "asked").read_text().splitlines()
        self.assertRegex(asked[-1], "^install -y .*mold$")

    def test_root_who_did_not_ask_for_it_installs_nothing(self) -> None:
        self.put("id", "echo 0")
        self.put("apt-get", f"touch {self.folder}/asked")
        self.without("mold")
        code, said, _ = self.setup("build", TALLY_SETUP_INSTALL="")
        self.assertEqual(code, 1, said)
        self.assertFalse(os.path.exists(self.folder / "asked"))

    def test_where_nothing_is_missing_it_says_so(self) -> None:
        code, said, out = self.setup("build")
        self.assertEqual((code, said, out), (0, [], "setup: everything that build needs is here\n"))


if __name__ == "__main__":
    unittest.main()
