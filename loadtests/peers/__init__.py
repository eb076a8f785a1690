"""Other ways to serve the same Swin-T, each in a virtual environment and a process of its own; see README.md."""
