"""Ends with 0 if the service in this container is ready. For the image's HEALTHCHECK; it has no curl.

The metrics port answers, so that neither a token nor a client's certificate is asked for. It is found by the
environment: who sets --metrics-port, --metrics-host or --tls-cert as flags or in a file names another check.
"""

import os
import ssl
import sys
import urllib.request

SECONDS = 4
scheme = "https" if os.environ.get("SWINSERVE_TLS_CERT") else "http"
port = os.environ.get("SWINSERVE_METRICS_PORT", "8002")
# To itself, over loopback: the certificate is for the names that others use.
unchecked = ssl._create_unverified_context()
try:
    urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/readyz", timeout=SECONDS, context=unchecked)
except OSError as error:
    sys.exit(f"not ready: {error}")
