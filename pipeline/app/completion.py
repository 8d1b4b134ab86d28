"""Shell completion of presets, networks and setting names. Nothing here imports torch."""

from dreamreel.pipeline.errors import UserError


def complete_preset(begun: str) -> list[str]:
    """The names of presets that start with `begun`: the user's own and the bundled ones."""
    from dreamreel.pipeline.config.presets import preset_names

    try:
        return [name for name in preset_names() if name.startswith(begun)]
    except UserError:  # no folder of own presets can be told; a command says so, a Tab does not
        return []


def complete_network(begun: str) -> list[str]:
    """The names of networks that start with `begun`."""
    from dreamreel.pipeline.networks.names import network_names

    return [name for name in network_names() if name.startswith(begun)]


def complete_setting(begun: str) -> list[str]:
    """The names of settings that start with `begun`, each with `=` for a value to follow."""
    from dreamreel.pipeline.config.fields import all_fields

    return [f"{name}=" for name in all_fields() if f"{name}=".startswith(begun)]
