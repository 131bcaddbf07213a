"""A receiver of alerts for the demo: checks each signature and prints the first ones as they come.

    receive_alerts.py SECRET SHOWN     prints its address first; SHOWN alerts in full, of the others their number
"""

import base64
import hashlib
import hmac
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

secret = base64.b64decode(sys.argv[1].removeprefix("whsec_"))
shown, received = int(sys.argv[2]), set()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        signature = "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
        genuine = hmac.compare_digest(signature, self.headers["webhook-signature"])
        self.send_response(204 if genuine else 401)
        self.end_headers()
        alert = json.loads(body)
        if genuine and alert["id"] not in received:
            received.add(alert["id"])
            if len(received) <= shown:
                # In one piece, as requests have threads of their own.
                line = f"  {alert['account']}  {alert['kind']} {alert['threshold']}  of {alert['package']}\n"
                print(line, end="", flush=True)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(f"http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
