"""What the server's and the operator's processes share."""
