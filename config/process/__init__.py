"""What the process itself needs: early signals, its rights and streams, its packages, the system's directories."""
