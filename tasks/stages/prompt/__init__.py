"""From rows and a prompt to request lines: templates, custom_ids, and chunks that fit one provider file."""
