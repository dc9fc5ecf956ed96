"""Stories told with a lab."""
