"""Settings: their fields, grammar, presets and schedules. Without torch."""
