"""From a submission to a committed job."""
