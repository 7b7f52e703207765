"""Code that the inference server and the operator share."""
