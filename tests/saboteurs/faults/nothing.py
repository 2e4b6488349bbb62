"""Changes nothing: must be reported as a survivor."""
