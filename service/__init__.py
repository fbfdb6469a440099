"""The HTTP service and its client: `lsr serve`."""
