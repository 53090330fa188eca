"""Questions about a whole picture: what it shows, its background, and what no picture of this world can tell."""

from starter.chat.templates import Draw, Turn, capital, wordings
from starter.chat.unknown import DONT_KNOW, DONT_KNOW_BRIEF
from starter.vision.phrases import background, background_brief, content, long_description, short_description
from starter.vision.scenes import Scene

_DESCRIBE = wordings(
    "What is in this image?", "What[’|']s in this image?", "What[’|']s in this image?", "What is in the image?",
    "What[’|']s in the [image|picture]?", "Describe the image.", "Describe this image.", "Describe this picture.", "Describe the picture.",
    "What do you see?", "What do you see in [this|the] [image|picture]?", "What is happening in this image?",
    "What[’|']s happening in [this|the] [image|picture]?", "What is shown here?", "What is shown in [this|the] [image|picture]?",
    "What does [this|the] [image|picture] show?", "What is this?", "What[’|']s this?", "What is in this picture?", "What is on [this|the] picture?",
    "Tell me what you see.", "Can you describe [this|the] [image|picture]?", "Please describe [this|the] [image|picture].",
    "What can you see?", "What can you see in [this|the] [image|picture]?", "Describe it.", "Caption this image.", "Write a caption for [this|the] image.",
    "Analyze [this|the] image.", "What is depicted in [this|the] image?", "What can you tell me about [this|the] [image|picture]?",
    "What is going on in [this|the] [image|picture]?", "Give me a short description of [this|the] [image|picture].", "Describe",
    "Explain [this|the] [image|picture].", "What are the contents of [this|the] image?", "Describe what you see.", "What is it?",
    "Describe [this|the] [image|picture] in one sentence.", "Tell me about [this|the] [image|picture].", "What is displayed?",
    "Hello, what is in this image?", "What objects are in [this|the] [image|picture]?", "What do you see here?", "What can be seen here?", "What can one see in [this|the] [image|picture]?", "Image description:", "",
    held=(
        "What can be seen in [this|the] [image|picture]?", "Tell me what is in [this|the] [image|picture].", "What is [this|the] image of?",
        "Could you describe [this|the] picture?", "Say what you see.",
    ),
)  # fmt: skip
_DETAIL = wordings(
    "Describe what you see in detail.", "Describe [this|the] [image|picture] in detail.", "Give a detailed description of [this|the] [image|picture].",
    "What do you see? Describe it in detail.", "Describe everything you see.", "Describe everything in [this|the] [image|picture].",
    "Please describe [this|the] [image|picture] in detail.", "Tell me everything about [this|the] [image|picture].",
    "Write a detailed description.", "Describe the image as exactly as you can.", "What is in [this|the] image? Give all details.",
    "Give me a detailed description of [this|the] [image|picture].", "Can you describe [this|the] [image|picture] in detail?",
    "Describe in detail what you see.", "Describe [this|the] [image|picture] with all details.", "Provide a detailed description of [this|the] image.",
    held=(
        "Describe [this|the] [image|picture] as detailed as possible.", "I want a detailed description of [this|the] [image|picture].",
        "Tell me in detail what you see.",
    ),
)  # fmt: skip
_BACKGROUND = wordings(
    "What [color|colour] is the background?", "What is the background?", "What is the background [color|colour]?", "Which [color|colour] is the background?",
    "What is the [color|colour] of the background?", "Describe the background.", "What[’|']s the background?", "What is in the background?",
    "What background does [this|the] [image|picture] have?", "Tell me the [color|colour] of the background.", "Background [color|colour]?",
    "What is behind it?", "What[’|']s in the background?", "Name the [color|colour] of the background.", "What do you see in the background?",
    held=("What kind of background is there?", "Say the [color|colour] of the background.", "Which background do you see?"),
)  # fmt: skip
_BEYOND = wordings(
    "Who [painted|made|drew|took] this[| picture| image| photo]?", "When was this [picture|image|photo] [made|taken|painted]?", "Where was this [taken|made|photo taken]?",
    "Who is [this|this person|in the picture|she|he]?", "What is the name of this [bridge|city|building|river|mountain|person|song|film]?", "What is the city?",
    "What is the city??", "what is the name of this bridge??", "What [year|day|time] is it in [this|the] [image|picture]?", "How much does [it|this] cost?", "What is the price?",
    "What is the weather [like |]in [this|the] [image|picture]?", "Which [city|country|street|bridge|artist|museum] is this?", "What [is the man|is the woman|are the people] doing?",
    "How old is [the person|she|he|it]?", "What [breed|brand|model] is [this|it|the dog|the car]?", "What is the person wearing?", "Is the food healthy?", "What will happen next?",
    "What does the sign on the street say?", "Is the dog happy?", "What is the cat doing?", "Translate the text to French.", "What is the value of bar {x}?",
    "How tall is bar {x} in meters?", "What does the chart say about the economy?", "Which company is this?", "What camera was used?", "Who is the artist?", "Why was this drawn?",
    held=("What is the name of this place?", "Who lives here?", "Which camera took this?", "What is the woman holding?", "In which country was this made?"),
)  # fmt: skip


def ask_describe(draw: Draw, scene: Scene) -> Turn | None:
    """What the picture shows, in a sentence."""
    return Turn(draw.say(_DESCRIBE), short_description(scene), f"{capital(content(scene))}.")


def ask_detail(draw: Draw, scene: Scene) -> Turn | None:
    """What the picture shows, with all places and the background."""
    said = long_description(scene)
    return None if said is None else Turn(draw.say(_DETAIL), said, said)


def ask_background(draw: Draw, scene: Scene) -> Turn | None:
    """The background."""
    return Turn(draw.say(_BACKGROUND), background(scene), background_brief(scene))


def ask_beyond(draw: Draw, scene: Scene) -> Turn | None:
    """What only a bigger model could tell, or nobody."""
    names = [bar.name for bar in scene.bars]
    while "bar" in (question := draw.say(_BEYOND, x=draw.rng.choice(names or ["A"]))).split() and not names:
        continue
    return Turn(question, DONT_KNOW, DONT_KNOW_BRIEF)
