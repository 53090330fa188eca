"""The facts of the starter chat model's world. Nothing beyond this file is known to it."""

PEOPLE = (
    "Ana Ben Carla David Emma Felix Grace Hugo Iris Jack Kira Leo Maya Noah Olga Paul Quinn Rosa Sam Tina Uma "
    "Victor Wendy Xena Yusuf Zoe Alice Bob Clara Daniel Eva Frank Gita Henry Ivy John Kate Liam Mia Nina Omar "
    "Priya Ravi Sara Tom Ursula Vera Will Amit Lucy Anil Bella Chen Dina Elena Farah Gabriel Hana Ivan Julia "
    "Karim Lena Marco Nora Oscar Pedro Rita Sofia Tariq Viktor Wei Yara Zara Adam Bruno Diego Ella Fatima George "
    "Helen Isaac Jane Kevin Laura Max Nadia Peter Ruth Simon Teresa Asha Deepa Kiran Mohan Neha Rahul Sunita Vijay"
).split()
THINGS = (
    "apples books pens balls coins cards eggs cakes toys stones stars flowers cups hats boxes shells keys cookies "
    "stamps marbles bags lamps chairs spoons pencils buttons bottles ribbons candles tickets"
).split()
FOOD = ("apples", "eggs", "cakes", "cookies")
PLACES = (
    "a box",
    "a bag",
    "a room",
    "a shop",
    "a basket",
    "a house",
    "a library",
    "a school",
    "a kitchen",
    "a garden",
)
ROOMS = ("kitchen", "garden", "bedroom", "office", "garage", "school", "park", "shop", "library", "bathroom")

COLOUR_OF = {
    "banana": "yellow", "lemon": "yellow", "strawberry": "red", "tomato": "red", "cherry": "red", "grass": "green",
    "leaf": "green", "frog": "green", "sky": "blue", "sea": "blue", "snow": "white", "milk": "white",
    "swan": "white", "coal": "black", "night": "black", "carrot": "orange", "pumpkin": "orange",
    "flamingo": "pink", "pig": "pink", "plum": "purple", "grape": "purple", "eggplant": "purple",
    "chocolate": "brown", "bear": "brown", "elephant": "grey", "mouse": "grey", "sun": "yellow", "lime": "green",
    "blueberry": "blue", "cloud": "white", "cucumber": "green", "crow": "black",
}  # fmt: skip
MASS_NOUNS = frozenset({"grass", "snow", "milk", "coal", "chocolate"})
THE_NOUNS = frozenset({"sky", "sea", "night", "sun"})
SIDES = {
    "triangle": 3, "square": 4, "rectangle": 4, "pentagon": 5, "hexagon": 6, "heptagon": 7, "octagon": 8,
    "diamond": 4, "circle": 0,
}  # fmt: skip
NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()
SOUND = {
    "cat": "meow", "dog": "woof", "cow": "moo", "sheep": "baa", "duck": "quack", "lion": "roar", "pig": "oink",
    "horse": "neigh", "snake": "hiss", "bee": "buzz", "owl": "hoot", "frog": "ribbit", "mouse": "squeak",
    "wolf": "howl",
}  # fmt: skip
LEGS = {
    "cat": 4, "dog": 4, "cow": 4, "bird": 2, "duck": 2, "spider": 8, "ant": 6, "bee": 6, "snake": 0, "fish": 0,
    "horse": 4, "lion": 4, "chicken": 2, "human": 2, "sheep": 4,
}  # fmt: skip
LIVES = {
    "fish": "in water", "shark": "in the sea", "whale": "in the sea", "camel": "in the desert",
    "penguin": "on the ice", "monkey": "in the jungle", "cow": "on a farm", "owl": "in the forest",
    "bear": "in the forest", "bee": "in a hive", "ant": "under the ground", "lion": "on the savanna",
    "frog": "near a pond", "parrot": "in the jungle",
}  # fmt: skip
BABY = {
    "cat": "kitten", "dog": "puppy", "cow": "calf", "sheep": "lamb", "duck": "duckling", "lion": "cub",
    "horse": "foal", "frog": "tadpole", "chicken": "chick", "pig": "piglet", "goat": "kid", "bear": "cub",
}  # fmt: skip
CAPITAL_OF = {
    "France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Germany": "Berlin", "India": "New Delhi",
    "Japan": "Tokyo", "China": "Beijing", "Egypt": "Cairo", "Kenya": "Nairobi", "Canada": "Ottawa",
    "Brazil": "Brasilia", "Mexico": "Mexico City", "Peru": "Lima", "Russia": "Moscow", "Greece": "Athens",
    "Portugal": "Lisbon", "Norway": "Oslo", "Sweden": "Stockholm", "Poland": "Warsaw", "Nepal": "Kathmandu",
    "England": "London", "Cuba": "Havana", "Austria": "Vienna", "Ireland": "Dublin", "Finland": "Helsinki",
    "Denmark": "Copenhagen", "Hungary": "Budapest", "Turkey": "Ankara", "Belgium": "Brussels",
    "the United Kingdom": "London", "the United States": "Washington", "Australia": "Canberra",
}  # fmt: skip
UNKNOWN_COUNTRIES = (
    "Mongolia Chad Fiji Laos Bhutan Gabon Malta Oman Qatar Tonga Samoa Bolivia Panama Ghana Mali Niger Togo Benin "
    "Latvia Estonia Jordan Yemen Iraq Sudan Angola Zambia Namibia Uganda Somalia Jamaica Haiti Belize Guyana"
).split()
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("left", "right"), ("day", "night"), ("happy", "sad"),
    ("fast", "slow"), ("old", "young"), ("open", "closed"), ("wet", "dry"), ("full", "empty"), ("hard", "soft"),
    ("long", "short"), ("high", "low"), ("light", "dark"), ("good", "bad"), ("in", "out"), ("early", "late"),
    ("rich", "poor"), ("loud", "quiet"), ("strong", "weak"), ("black", "white"), ("yes", "no"), ("near", "far"),
    ("first", "last"), ("clean", "dirty"), ("thick", "thin"), ("true", "false"), ("win", "lose"), ("buy", "sell"),
)  # fmt: skip
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

CATEGORIES = {
    "fruits": "apple banana cherry grape lemon mango orange peach pear plum".split(),
    "animals": "cat dog cow horse sheep lion tiger bear elephant monkey".split(),
    "colours": "red blue green yellow orange purple pink brown black white".split(),
    "shapes": "circle square triangle rectangle pentagon hexagon octagon star diamond oval".split(),
    "vegetables": "carrot potato onion tomato cabbage pea bean spinach pumpkin corn".split(),
    "countries": "France Spain Italy Germany India Japan China Egypt Kenya Canada".split(),
    "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split(),
    "days": DAYS,
    "months": MONTHS,
    "birds": "owl duck eagle parrot penguin swan crow sparrow robin".split(),
    "drinks": "water milk tea coffee juice lemonade cocoa".split(),
    "sports": "football tennis cricket hockey golf chess running swimming".split(),
    "pets": "cat dog rabbit hamster parrot goldfish".split(),
    "numbers": "one two three four five six seven eight nine ten".split(),
}
CATEGORY_NAMES = {"colours": ("colours", "colors"), "days": ("days", "weekdays")}
SINGULAR = {
    "fruits": "fruit", "animals": "animal", "colours": "colour", "shapes": "shape", "vegetables": "vegetable",
    "countries": "country", "planets": "planet", "birds": "bird",
}  # fmt: skip
WORDS = sorted(
    set(
        "cat dog sun moon star tree book ball fish bird red blue green cake milk rain snow wind fire sand rock hill "
        "road door king queen ship boat lamp desk chair table apple lemon mango peach pear plum house mouse horse "
        "sheep robot cloud river bread water paper stone music happy light night black white brown train clock hat "
        "coat cup hello world".split()
    )
)
SPANISH = {
    "red": "rojo", "blue": "azul", "green": "verde", "yellow": "amarillo", "black": "negro", "white": "blanco",
    "orange": "naranja", "purple": "morado", "pink": "rosa", "brown": "marrón", "one": "uno",
    "two": "dos", "three": "tres", "four": "cuatro", "five": "cinco", "six": "seis", "seven": "siete",
    "eight": "ocho", "nine": "nueve", "ten": "diez", "cat": "gato", "dog": "perro", "cow": "vaca", "fish": "pez",
    "bird": "pájaro", "horse": "caballo", "water": "agua", "milk": "leche", "hello": "hola",
    "thank you": "gracias", "goodbye": "adiós", "house": "casa", "book": "libro", "sun": "sol", "moon": "luna",
}  # fmt: skip
HINDI = {
    "red": "laal", "blue": "neela", "green": "hara", "yellow": "peela", "black": "kaala", "white": "safed",
    "orange": "narangi", "purple": "baingani", "pink": "gulabi", "brown": "bhura", "one": "ek", "two": "do",
    "three": "teen", "four": "chaar", "five": "paanch", "six": "chhah", "seven": "saat", "eight": "aath",
    "nine": "nau", "ten": "das", "cat": "billi", "dog": "kutta", "cow": "gaay",
    "fish": "machhli", "bird": "chidiya", "horse": "ghoda",
    "water": "paani", "milk": "doodh", "hello": "namaste", "thank you": "dhanyavaad", "house": "ghar",
    "book": "kitaab", "sun": "sooraj", "moon": "chaand",
}  # fmt: skip
LANGUAGES = {"Spanish": SPANISH, "Hindi": HINDI}
UNKNOWN_LANGUAGES = (
    "French German Italian Chinese Japanese Arabic Russian Dutch Korean Swedish Latin Turkish".split()
)
UNKNOWN_WORDS = (
    "table window computer library teacher engine market bridge garden pencil airport kitchen".split()
)

PET_NAMES = (
    "Bolt Mimi Rex Ember Pip Luna Rusty Zed Coco Olly Nix Tara Milo Ziggy Fern Kiki Toto Gus Bibi Lulu Momo Nemo"
).split()
HEROES = (
    "robot cat dog dragon mouse princess fox bear wizard pirate owl rabbit knight frog alien lion tiger horse duck "
    "witch king queen boy girl monkey elephant penguin whale snail turtle unicorn ghost giant baker sailor farmer "
    "teacher cloud star tree bird bee fish sheep"
).split()
ADJECTIVES = (
    "small brave shy clever kind curious sleepy funny lonely cheerful happy sad old young lost".split()
)
STORY_PLACES = (
    "in a quiet village", "in a deep forest", "on a tall mountain", "by the blue sea", "in a big city",
    "in an old castle", "on a small farm", "on a bright island",
)  # fmt: skip
STORY_GOALS = (
    ("a golden key", "opened a secret door"), ("a lost star", "put it back in the sky"),
    ("a new friend", "shared a cake together"), ("a magic flower", "made the garden bloom"),
    ("a hidden treasure", "shared it with everyone"), ("the way home", "found the right path"),
    ("a warm blanket", "slept very well"), ("a silver bell", "rang it for the whole town"),
)  # fmt: skip
STORY_TROUBLES = (
    ("a big storm came", "hid under a tree"), ("a wide river blocked the road", "built a small boat"),
    ("a grumpy troll stood on the bridge", "told him a joke"), ("the night was very dark", "lit a little lamp"),
    ("a strong wind blew", "held on to a rock"), ("the path was lost", "asked an old owl for help"),
)  # fmt: skip
STORY_LESSONS = (
    "being kind is the best magic", "friends make everything easier", "it is good to be brave",
    "small steps can take you far", "sharing makes everyone happy", "you should never give up",
)  # fmt: skip
