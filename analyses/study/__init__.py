"""The programme: measure a study, cache the measurements, decide, report."""
