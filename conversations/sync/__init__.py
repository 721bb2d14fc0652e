"""Search, changes for other devices, and exports."""
