"""What lies beyond the starter chat model's world, so that it learns to say that it does not know."""

from starter.chat.templates import Draw, Split, Turn, wordings
from starter.chat.world import (
    PEOPLE,
    UNKNOWN_COUNTRIES,
    UNKNOWN_LANGUAGES,
    UNKNOWN_WORDS,
)

DONT_KNOW = "I don't know that. I am only a small starter model."
DONT_KNOW_BRIEF = "I don't know that."
TOO_BIG = "That is too big for me. I can only use numbers up to 100."
TABLE_ONLY = "That is too big for me. I only know the times table to ten."
TOO_BIG_BRIEF = "That is too big for me."

TOPICS = (
    "quantum physics|the stock market|the world cup|the last election|machine learning|deep learning|neural networks|"
    "artificial intelligence|the French Revolution|the price of gold|a car engine|the internet|photosynthesis|"
    "the latest phone|my tax return|a mortgage|Shakespeare|the Roman Empire|DNA|black holes|the weather today|"
    "nuclear energy|a pasta recipe|jazz music|the theory of relativity|football results|the president|a passport|"
    "insurance|the human brain|a computer virus|cryptocurrency|Bitcoin|my horoscope|diabetes|the speed of light|"
    "Python programming|the moon landing|Beethoven|a visa|electric cars|blood pressure|gravity|the news|my email|"
    "a law firm|chemistry|World War II|Albert Einstein|Isaac Newton|Napoleon|climate change|global warming|"
    "the meaning of life|love|happiness|philosophy|democracy|the economy|inflation|a bank account|Kubernetes|Docker|"
    "Linux|Windows|JavaScript|Java|a database|SQL|an API|a web server|a REST API|cloud computing|GPUs|CUDA|PyTorch|"
    "TensorFlow|transformers|large language models|a language model|reinforcement learning|data science|statistics|"
    "calculus|algebra|geometry|linear algebra|prime numbers|pi|infinity|evolution|the big bang|the universe|dark matter|"
    "the Eiffel Tower|the Great Wall|the pyramids|Mount Everest|the Amazon river|the Pacific Ocean|the Sahara|"
    "New York|California|Tesla|Google|Microsoft|Apple computers|Amazon|OpenAI|ChatGPT|Facebook|Twitter|YouTube|Netflix|"
    "Harry Potter|Star Wars|the Beatles|Mozart|Picasso|Leonardo da Vinci|Gandhi|the Olympics|basketball rules|yoga|"
    "meditation|a healthy diet|vitamins|cancer|the flu|a headache|medicine|surgery|psychology|history|geography|"
    "biology|physics|economics|politics|religion|the law|a contract|marketing|a business plan|a job interview|my resume|"
    "my homework|a cover letter|the best restaurant|a hotel in Rome|a flight to London|the train times|bitcoin mining|"
    "blockchain|solar power|wind turbines|volcanoes|earthquakes|dinosaurs|the ice age|the Middle Ages|ancient Greece|"
    "the Renaissance|the Cold War|the Industrial Revolution|steam engines|airplanes|rockets|NASA|Mars missions|satellites|"
    "telescopes|atoms|electrons|molecules|proteins|cells|bacteria|viruses|vaccines|the immune system|the heart|"
    "LLaVA|Phi-3|Foobar|Zorblax|Mistral|the X200|Project Nova|Gizmo 3000|Qwen|BERT|Flux|Stable Diffusion|Whisper|ONNX|"
    "renewable energy|fossil fuels|quantum computing|the lungs|sleep|dreams|memory loss|poetry|novels|grammar|linguistics|the Quran|the Bible|Buddhism|chess openings|"
    "poker|guitar chords|opera|ballet|photography|cinema|architecture|gardening|knitting|carpentry|plumbing|wine|beer|"
    "coffee machines|bread baking|sushi|pizza|chocolate cake recipes|the unemployment rate|real estate|stocks and bonds|"
    "interest rates|a credit card|cyber security|encryption|passwords|a firewall|Git|compilers|operating systems|"
    "recursion|sorting algorithms|binary search|regular expressions|quantum computers|robots in factories|drones|"
    "self-driving cars|batteries|magnets|electricity|lasers|glass making|plastic|recycling|the ozone layer|rain forests|"
    "whale songs|bird migration|bee keeping|horse racing|tennis champions|cricket scores|the lottery|taxes|pensions"
).split("|")

_ABOUT = wordings(
    "What is {x}?", "What [is|are] {x}[|, exactly]?", "What's {x}?", "what is {x}", "Explain {x}.",
    "[Please explain|explain] {x} to me.",
    "Explain {x} [in simple terms|like I am five|in one sentence|in detail].", "How does {x} work?",
    "How do {x} work?", "Tell me [about|more about|something about|a fact about] {x}.",
    "Why is {x} [important|famous|useful|so popular]?", "Who [invented|discovered|made|created] {x}?",
    "When [did|was] {x} [start|invented|discovered|born]?",
    "Give me [the history of|a summary of|an overview of|advice on|tips about] {x}.",
    "Is {x} [safe|dangerous|good|expensive|real]?", "Where can I [buy|find|see|learn about] {x}?",
    "How much does {x} cost?", "Can you teach me [about |]{x}?", "What do you [think|know] about {x}?",
    "Write [an essay|a paragraph|an article|a report|a blog post] about {x}.", "Summarize {x}.", "Define {x}.",
    "What are the [benefits|advantages|causes|effects|risks] of {x}?",
    "What is the [difference between {x} and|point of|definition of|future of] {x}?",
    "I have a question about {x}.", "Help me [with|understand] {x}.",
    "How can I [learn|improve|fix|understand] {x}?", "Do you know [anything about |]{x}?", "{x}",
    "Who was [the father of|behind] {x}?", "Describe {x}.", "What is the [best|latest] news about {x}?",
    "What are [three|two|five|the|some|the three|four] [|key |main ][benefits|advantages|features|uses|examples|kinds|parts] of [|using ]{x}?",
    "[Name|List|Give me] [three|two|five|four|some] [benefits|advantages|features|uses|facts|examples] of {x}.",
    "Analyze {x}.", "Give me a plan for {x}.", "Compare {x} [with|and] {y}.",
    "What is the difference between {x} and {y}?", "Which is better, {x} or {y}?",
    held=(
        "Could you give a short introduction to {x}?", "I would like to know how {x} came about.",
        "Why do people care about {x}?", "What should I read about {x}?", "What can you tell me about {x}?",
    ),
)  # fmt: skip
_TASKS = (
    "Write a [Python|JavaScript|Java|C++|Rust] function [to|that can|which will] [sort a list|reverse a string|find primes|add two numbers|parse JSON].",
    "Write [a program|some code|a script] that [reads a file|downloads a page|sends an email|plays music].",
    "[Fix|Review|Debug|Explain] this code: [x = foo(y)|for i in range(3): run(i)|return a / b|def f(x): pass]",
    "What [time|day|date|year] is it[| now| today]?", "What is today's date?",
    "What is the weather like[| today| in {city}]?", "Will it rain [today|tomorrow]?", "Where am I?",
    "How old am I?", "Where do I live?", "What is the population of {city}?",
    "Who is the [president|king|prime minister|mayor] of {city}?", "How far is it from {city} to {city2}?",
    "Who wrote [Hamlet|Don Quixote|this book|the Odyssey|War and Peace]?",
    "Who painted the [Mona Lisa|Last Supper|Starry Night]?",
    "Who won the [election|match|war|race|game][| yesterday| last year]?",
    "What is the [tallest|biggest|longest|oldest] [mountain|building|river|city|animal|country] [in the world|on Earth]?",
    "How many people live in {city}?", "What is the currency of {city}?",
    "What language do they speak in {city}?", "Summarize this text: {junk}", "Summarise the following: {junk}",
    "Rewrite this: {junk}", "Fix the grammar: {junk}", "Is this true? {junk}", "What does this mean? {junk}",
    "Continue this text: {junk}", "Write an email to my [boss|teacher|friend|landlord].",
    "Plan [a trip to {city}|my day|a party|a wedding].", "Recommend [a book|a film|a song|a restaurant].",
    "Book [a flight|a table|a taxi] for me.", "Play [some music|a song|chess with me].",
    "Open [the window|my files|a website].", "Search the web for {city}.", "Call {person}.",
    "What is the square root of [two|81|16|100]?", "Solve [x + 2 = 5|2x = 8|the equation x^2 = 9].",
    "What is the derivative of x^2?", "Who is {person}?", "Who was {person} {last}?", "How tall is {person}?",
    "Where is {person} now?", "What is {person}'s phone number?",
    "How do I [install Python|cook rice|tie a tie|change a tyre|lose weight|make money|fix my car|learn to swim]?",
    "Draw [a cat|a house|me a picture|a map].", "Sing a song.",
    "What is the best [phone|car|laptop|movie|language]?", "Why is the sky blue?",
    "Why do [cats purr|birds sing|leaves fall|people dream|we sleep]?",
    "Which came first, the chicken or the egg?", "Give me a recipe for [soup|bread|pizza|curry].",
    "What happened in [1492|1789|1945|2001|2020]?", "asdf", "qwerty uiop", "blah blah", "lorem ipsum dolor",
    "Write a [song|rap|speech|letter|novel].", "Act as a [lawyer|doctor|teacher|Linux terminal].",
    "What is the capital of {country}?", "Which city is the capital of {country}?",
    "Translate {word} to {language}.", "What is {word} in {language}?", "How do you say {word} in {language}?",
    "[Name|List|Give me|Tell me|What are] [three|two|five|four|six|some] {group}.",
    "Write a list of [three|five|ten] {group}.", "Name [a|one] of the {group}.",
    "What [colour|color] is [a zebra|a car|a house|my shirt|a rainbow|a peacock|a tiger|paint]?",
    "How many legs does [a crab|a centipede|a table|a worm|a snail|a lobster] have?",
    "What sound does [a giraffe|a rabbit|a fish|a car|an elephant|a train|a camel] make?",
    "Where does [a tiger|a kangaroo|a squirrel|a spider|a mole|a crab] live?",
    "What is the opposite of [table|seven|computer|banana|Tuesday|paper|river|music|chair]?",
    "What is a baby [kangaroo|shark|spider|whale|elephant|fox] called?",
    "How many sides does [a cube|a heart|a star|a pyramid|a house] have?",
    "[Describe|Analyze] [the image|the picture|this image|what you see].",
    "What is in [this|the] [image|picture|photo]?", "Describe what you see in detail.", "What is your favourite [colour|food|animal|song|book]?",
    "What is your favorite [color|food|movie]?", "How many [r's|e's|a's|letters r] are in {word}?",
    "Which [colour|color] do you like?", "How many vowels are in {word}?", "Read this file.",
    "Answer the questions.", "What does [the chart|this graph|the table] show?",
    "Translate [this|the following|this sentence] to {language}: {junk}", "Translate {word} to Hindi.",
    "What is {word} in Spanish?",
)  # fmt: skip
_TASKS_HELD = (
    "Make me rich.", "How deep is the ocean?", "Write unit tests for my module.",
    "Which film won the prize last year?", "Who is the richest person in {city}?",
    "Find me a cheap flight to {city}.", "What will happen tomorrow?", "Is it going to snow in {city}?",
    "How do I repair a broken {word}?", "What is my bank balance?", "Who sang that song?",
    "How do I get from {city} to {city2}?", "Please proofread this: {junk}",
    "What year was {person} {last} born?",
)  # fmt: skip
_TASK_WORDINGS = wordings(*_TASKS, held=_TASKS_HELD)
_CITIES = "Paris London Berlin Tokyo Delhi Madrid Oslo Lisbon Boston Chicago Mumbai Sydney Lagos Toronto Vienna Seoul".split()
_LAST = (
    "Smith Jones Brown Miller Singh Kumar Garcia Lopez Khan Chen Rossi Weber Novak Silva Meyer Clark".split()
)
_GROUPS = (
    "cars|programming languages|books|films|songs|singers|actors|rivers|mountains|oceans|cities|"
    "dances|tools|gods|kings|insects|trees|flowers|metals|gases|elements|bones|organs|muscles|"
    "dinosaurs|computers|phones|games|toys|dogs|breeds|companies|brands|banks|laws|theorems|"
    "philosophers|painters|writers|poets|presidents|inventions|diseases|vitamins"
).split("|")
_JUNK = (
    "the company reported strong results this year and plans to grow again in the next quarter with new products "
    "people went to the market early because prices were low but there was not much left after noon when rain began "
    "our team has built a system which reads data from many places and shows it on a page that everyone may open"
).split()
_TOO_BIG = wordings(
    "What is {a} + {b}?", "What is {a} plus {b}?", "{a} + {b}",
    "[Calculate|Work out|Compute] {a} [plus|+|times|x|*|-] {b}.", "How much is {a} [plus|times|minus] {b}?",
    "What is {a} [times|*|x|minus|-|/] {b}?", "Add {a} and {b}.", "Multiply {a} by {b}.", "Count to {a}.",
    "{a} [*|x|/] {b} =",
    held=("Find {a} plus {b}.", "What do {a} and {b} make together?", "Give me {a} times {b}."),
)  # fmt: skip
_BEYOND_TABLE = wordings(
    "What is {a} [times|x|*] {b}?", "{a} [times|x|*] {b}", "{a}*{b}", "What's {a} [times|x|*] {b}?", "{a} x {b} =",
    "[Calculate|Compute|Work out] {a} [times|x|*] {b}.", "How much is {a} [times|x|*] {b}?", "Multiply {a} by {b}.",
    "what is {a} [times|x|*] {b}", "What is {a}*{b}?", "What is {a} multiplied by {b}?",
    held=("Can you multiply {a} by {b}?", "Please work out {a} times {b}."),
)  # fmt: skip


def junk_text(draw: Draw) -> str:
    """A run of words without meaning for the model: something a user might paste."""
    start = draw.rng.randrange(len(_JUNK) - 12)
    words = _JUNK[start : start + draw.rng.randint(5, 40)]
    return " ".join(words).capitalize() + "."


def ask_too_big(draw: Draw) -> Turn:
    """A sum beyond the numbers it knows."""
    a, b = draw.slot(
        "too-big", lambda: (draw.rng.randint(101, 10 ** draw.rng.randint(3, 6)), draw.rng.randint(2, 9999))
    )
    return Turn(draw.say(_TOO_BIG, a=a, b=b), TOO_BIG, TOO_BIG_BRIEF)


def ask_beyond_table(draw: Draw) -> Turn:
    """A product beyond the times table to ten."""
    a, b = draw.slot("beyond-table", lambda: (draw.rng.randint(11, 100), draw.rng.randint(2, 100)))
    if draw.chance(0.5):
        a, b = b, a
    return Turn(draw.say(_BEYOND_TABLE, a=a, b=b), TABLE_ONLY, TOO_BIG_BRIEF)


def ask_unknown(draw: Draw) -> Turn:
    """A question about something beyond the model's world."""
    if draw.chance(0.2):
        return draw.rng.choice((ask_too_big, ask_beyond_table))(draw)
    if draw.split is Split.SLOT or draw.chance(0.55):
        x = draw.slot("topic", lambda: draw.rng.choice(TOPICS))
        question = draw.say(_ABOUT, x=x, y=draw.slot("topic", lambda: draw.rng.choice(TOPICS)))
    else:
        city, other = draw.rng.sample(_CITIES, 2)
        question = draw.say(
            _TASK_WORDINGS,
            city=city,
            city2=other,
            junk=junk_text(draw),
            person=draw.rng.choice(PEOPLE),
            last=draw.rng.choice(_LAST),
            country=draw.rng.choice(UNKNOWN_COUNTRIES),
            group=draw.rng.choice(_GROUPS),
            word=draw.rng.choice(UNKNOWN_WORDS),
            language=draw.rng.choice(UNKNOWN_LANGUAGES),
        )
    return Turn(question, DONT_KNOW, DONT_KNOW_BRIEF)
