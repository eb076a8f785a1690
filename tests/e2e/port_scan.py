"""`python port_scan.py ADDRESS [PORT…]` prints the TCP ports that can be connected to, of those or of all, as JSON."""

import json
import socket
import sys


def is_open(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(2)
        return connection.connect_ex((address, port)) == 0


if __name__ == "__main__":
    wanted = [int(word) for word in sys.argv[2:]] or range(1, 65536)
    print(json.dumps([port for port in wanted if is_open(sys.argv[1], port)]))
