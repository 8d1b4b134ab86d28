"""Shell completion of presets, networks and setting names. Nothing here imports torch."""


def complete_preset(begun: str) -> list[str]:
    """The names of presets that start with `begun`."""
    from dreamreel.pipeline.config.presets import preset_names

    return [name for name in preset_names() if name.startswith(begun)]


def complete_network(begun: str) -> list[str]:
    """The names of networks that start with `begun`."""
    from dreamreel.pipeline.networks.names import network_names

    return [name for name in network_names() if name.startswith(begun)]


def complete_setting(begun: str) -> list[str]:
    """The names of settings that start with `begun`, each with `=` for a value to follow."""
    from dreamreel.pipeline.config.fields import all_fields

    return [f"{name}=" for name in all_fields() if f"{name}=".startswith(begun)]
