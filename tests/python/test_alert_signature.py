"""The example of docs/alerts.md verifies the signature that docs/alerts.md shows."""

import pathlib
import re
import unittest

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "alerts.md").read_text()


class AlertSignature(unittest.TestCase):
    def setUp(self):
        code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1)
        names = {}
        exec(compile(code, "docs/alerts.md", "exec"), names)
        self.verify = names["verify"]
        example = re.search(r"```\n(secret: .*?)```", PAGE, re.DOTALL).group(1)
        values = dict(line.split(": ", 1) for line in example.strip().splitlines())
        self.secret = values.pop("secret")
        self.body = values.pop("body").encode()
        self.headers = values
        self.now = int(values["webhook-timestamp"])

    def test_the_example_is_verified(self):
        self.verify(self.secret, self.headers, self.body, self.now)
        rotated = {**self.headers, "webhook-signature": "v1,AAAA v1a,x " + self.headers["webhook-signature"]}
        self.verify(self.secret, rotated, self.body, self.now)

    def test_what_was_changed_is_refused(self):
        for headers, body, now in [
            (self.headers, self.body + b" ", self.now),
            (self.headers, self.body, self.now + 301),
            ({**self.headers, "webhook-id": "other"}, self.body, self.now),
            ({**self.headers, "webhook-timestamp": str(self.now + 1)}, self.body, self.now),
            ({**self.headers, "webhook-signature": "v1,AAAA"}, self.body, self.now),
        ]:
            with self.assertRaises(ValueError):
                self.verify(self.secret, headers, body, now)


if __name__ == "__main__":
    unittest.main()
