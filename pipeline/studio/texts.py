"""All English words of the studio's pages."""

TITLE = "Dreamreel Studio"
LOOK, EXPLORE, ZOOM = "Look", "Explore", "Zoom"
MASKS, LIVE, RENDERS = "Masks", "Live", "Renders"
TABS = (LOOK, EXPLORE, ZOOM, MASKS, LIVE, RENDERS)
DARK, PASSWORD, ENTER, WRONG = "Dark", "Password", "Enter", "That is not the password."

# The look.
DROP = "Drop a film, a picture or music here, or choose one"
REJECTED = "That is no film, picture or sound by its name."
SOURCES = "Source"
NO_SOURCE = "Nothing to dream yet: drop a film or a picture."
TAKEN = "{name} is here"
MOMENT = "Moment, in seconds"
LOOKS, KNOBS = "Looks", "Knobs"
STRENGTH, OCTAVES, STEPS = "Strength", "Octaves: sizes of things", "Steps"
OCTAVE_SCALE = "Octave scale: from size to size"
MIX, CARRY = "Mix: share of the dream", "Carry: what flows on"
TERMS = "What is climbed"
TERMS_HINT = "layers, channels and classes, as in 0.7*parts + class:starfish"
ALL_SETTINGS, GENERAL = "All settings", "general"
SEARCH = "Search settings and their help"
UNSET, NONE = "usually", "none"
SETTLING, SETTLED = "dreaming …", "settled"
COMPARE = "Source on the left, dream on the right"
SOURCE_ALT, DREAM_ALT = "The source", "The dream"
COPY = "Copy"
COMMAND = "The same on the command line"
RENDER, RENDER_ZOOM, ADDED = "Render", "Render the zoom", "{name} is in the queue"
MOVE = "See two seconds move"
FULL_SCREEN = "Full screen"
SAVE_AS, SAVED, NAME_OF_LOOK = "Save as preset", "{path} is written", "Name of the look"

# Explore.
EXPLORED = ("Layers", "Channels", "Classes", "Sweep")
ADDS = "Add to what is climbed"
NOW, OF_LOOK = "Climbed now: {terms}", "what the look climbs"
LAYERS_HELP = "What each layer of the network sees in this picture; press one to dream by it."
CHANNELS_HELP = (
    "What each channel of a layer looks for, imagined from noise; press one to dream by it."
)
CLASSES_HELP = "The network knows {count} classes; search for one, and press it to dream of it."
SWEEP_HELP = "This picture with all values of two settings; press the one that you like."
NO_CLASSES = "{network} names no classes; dreamnet does."
SEARCH_LAYERS, SEARCH_CLASSES = "Search all layers", "Search classes"
LAYER, BACK, ON = "Layer", "Back", "More"
CHANNELS_OF = "{first} to {last} of {count}"
SETTING, VALUES, LAY_OUT = "Setting", "Values, with commas", "Lay out"
SAME_AXIS = "both axes are {name}; give another setting for one of them"
TOO_MANY = "the page shows at most {most} pictures; dreamreel sweep makes more"

# The zoom.
ZOOM_NEEDS = "The zoom begins with a picture: drop one, or choose one as the source."
SECONDS, FPS, MUSIC, NO_MUSIC = "Seconds", "Frames a second", "Music", "no music"
LOOP, REVERSE = "Loop", "Reverse"
CURVE_OF, SCHEDULE = "Curve of", "Its schedule, as on the command line"
KEY_AT, KEY_VALUE, EASE, USUAL_EASE = "Key at, s", "Its value", "Ease to the next", "usual"
KEY_OF = "{name}, key"
ADD_KEY, REMOVE_KEY = "Add a key", "Remove the key"
CURVE_HELP = (
    "Drag a key, or move it by the arrow keys; a double click adds one, Delete removes one. Keys "
    "snap to beats."
)
SHOW_PATH = "See the camera's path"

# Masks.
MASKS_NEED = "Nothing to paint on yet: drop a film or a picture."
PAINT_HELP = (
    "Paint where the dream is to be. On a film, choose the moment in Look; the mask is carried "
    "along the motion from there."
)
PAINT_ON = "The frame to paint on; arrow keys move the pen, space paints"
PEN, ERASE, CLEAR, FILL = "Pen", "Erase", "Clear", "Paint all"
KEEP_MASK, FORGET_MASKS, FOLLOW_MASK = "Keep the mask", "Forget all masks", "See it carried along"
NO_MASK, HAS_MASK = "No mask: all is dreamed.", "A mask is kept."
HAS_MASKS, MASK_KEPT = "Masks are kept for {times}.", "The mask is kept"
DREAMED = "What is dreamed"
SIDES = {
    "inside": "inside alone",
    "outside": "outside alone",
    "both": "inside and outside, each its own",
}
INSIDE, OUTSIDE, FEATHER = "Climbed inside", "Climbed outside", "Feather"

# The live dream.
WATCHED, CAMERA = "What is dreamed as it plays", "camera {number}"
START, END = "Start", "End"
BEGINS, LIVE_ALT = "begins …", "The live dream"
RATE = "{rate:.1f} frames a second"
WHEN_STILL = "Only while it stands still"

# Renders.
NO_RENDERS = "No renders yet."
STOP, GO_ON, FIRST, RETRY = "Stop", "Continue", "Next", "Try again"
FORGET, DOWNLOAD = "Remove", "Download"
USE_AGAIN, USED_AGAIN = "Use these again", "the settings of {name} are chosen"
SOURCE_GONE = "{name} is not among the sources any more; its settings are chosen"
SETTINGS_OF = "Its settings: {count} that are not the usual ones"
OF_TOTAL = "{words}, {done} of {total}"
LEFT = "{words}, {rate:.1f} a second, {minutes}:{seconds:02} left"
STOPPED_AT = "{words} at {done} of {total}"
LATEST = "The latest frame of {name}"
STATES = {
    "waiting": "waits",
    "running": "runs",
    "done": "done",
    "failed": "failed",
    "stopped": "stopped",
}
