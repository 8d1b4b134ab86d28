"""What the shell completes: presets, networks, settings' names. None of it imports torch."""


def complete_preset(begun: str) -> list[str]:
    """The presets whose names begin so."""
    from dreamreel.pipeline.config.presets import preset_names

    return [name for name in preset_names() if name.startswith(begun)]


def complete_network(begun: str) -> list[str]:
    """The networks whose names begin so."""
    from dreamreel.pipeline.networks.names import network_names

    return [name for name in network_names() if name.startswith(begun)]


def complete_setting(begun: str) -> list[str]:
    """The settings whose names begin so, ready for a value."""
    from dreamreel.pipeline.config.fields import all_fields

    return [f"{name}=" for name in all_fields() if f"{name}=".startswith(begun)]
