"""All English words of the studio's pages."""

TITLE = "Dreamreel Studio"
LOOK, LIVE, RENDERS = "Look", "Live", "Renders"
WATCHED, CAMERA = "What is dreamed as it plays", "camera {number}"
START, END = "Start", "End"
BEGINS, LIVE_ALT = "begins …", "The live dream"
RATE = "{rate:.1f} frames a second"
WHEN_STILL = "Only while it stands still"
DROP = "Drop a film or a picture here, or choose one"
SOURCES = "Source"
NO_SOURCE = "Nothing to dream yet: drop a film or a picture."
MOMENT = "Moment, in seconds"
LOOKS = "Looks"
KNOBS = "Knobs"
ALL_SETTINGS = "All settings"
SEARCH = "Search settings"
SETTLING = "dreaming …"
SETTLED = "settled"
COMPARE = "Source on the left, dream on the right"
SOURCE_ALT, DREAM_ALT = "The source", "The dream"
COMMAND = "The same on the command line"
COPY, COPIED = "Copy", "copied"
RENDER, RENDER_ZOOM = "Render", "Render a zoom"
ADDED = "{name} is in the queue"
NO_RENDERS = "No renders yet."
STOP, GO_ON, FIRST, FORGET, DOWNLOAD = "Stop", "Continue", "Next", "Remove", "Download"
USE_AGAIN = "Use these settings again"
STATES = {
    "waiting": "waits",
    "running": "runs",
    "done": "done",
    "failed": "failed",
    "stopped": "stopped",
}
TAKEN = "{name} is here"
SAVE_AS, SAVED, NAME_OF_LOOK = "Save as preset", "{path} is written", "Name of the look"
DARK = "Dark"
PASSWORD, ENTER, WRONG = "Password", "Enter", "That is not the password."
FULL_SCREEN = "Full screen"
UNSET = "unset"
