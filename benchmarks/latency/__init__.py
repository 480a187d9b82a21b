"""From an event to its finding, and from a finding to the call that cuts the key, under load."""
