"""From rows to request lines: templates, values, custom_ids, token estimates, and the cut into chunks."""
