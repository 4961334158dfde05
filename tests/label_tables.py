"""Which outputs of an ImageNet model stand behind other classes, written down a second time for tests.

Typed from other places than the package's own tables: ObjectNet's by the names people gave its objects, the
16 categories and ImageNet-9 by number.
"""

from __future__ import annotations

OBJECTNET_TEXT = """
Alarm clock 409 530; Backpack 414; Banana 954; Band Aid 419; Basket 790; Bath towel 434; Beer bottle 440;
Bench 703; Bicycle 671 444; Binder 446; Bottle cap 455; Bread loaf 930; Broom 462; Bucket 463; Butcher's
knife 499; Can opener 473; Candle 470; Cellphone 487; Chair 423 559 765; Clothes hamper 588; Coffee/French
press 550; Combination lock 507; Computer mouse 673; Desk lamp 846; Dishrag 533; Doormat 539; Dress shoe
(men) 630; Drill 740; Drinking cup 968; Drying rack 729; Envelope 549; Fan 545; Frying pan 567; Dress 578;
Hair dryer 589; Hammer 587; Helmet 560 518; Iron 606; Jeans 608; Keyboard 508; Ladle 618; Lampshade 619;
Laptop 620; Lemon 951; Letter opener 623; Lighter 626; Lipstick 629; Match 644; Measuring cup 647; Microwave
651; Mixing/salad bowl 659; Monitor 664; Mug 504; Nail 677; Necklace 679; Orange 950; Padlock 695;
Paintbrush 696; Paper towel 700; Pen 418 749 563; Pill bottle 720; Pillow 721; Pitcher 725; Plastic bag 728;
Plate 923; Plunger 731; Pop can 737; Portable heater 811; Printer 742; Remote control 761; Ruler 769;
Running shoe 770; Safety pin 772; Salt shaker 773; Sandal 774; Screw 783; Shovel 792; Skirt 601 655 689;
Sleeping bag 797; Soap dispenser 804; Sock 806; Soup bowl 809; Spatula 813; Speaker 632; Still camera 732
759; Strainer 828; Stuffed animal 850; Suit jacket 834; Sunglasses 837; Sweater 841; Swimming trunks 842;
T-shirt 610; TV 851; Teapot 849; Tennis racket 752; Tie 457 906; Toaster 859; Toilet paper roll 999; Trash
bin 412; Tray 868; Umbrella 879; Vacuum cleaner 882; Vase 883; Wallet 893; Watch 531; Water bottle 898;
Weight (exercise) 543; Weight scale 778; Wheel 479 694; Whistle 902; Wine bottle 907; Winter glove 658; Wok
909
"""
FOLDERS = {  # of the objects that are not called after their name
    "Bath towel": "full_sized_towel", "Binder": "binder_closed", "Butcher's knife": "butchers_knife",
    "Coffee/French press": "coffee_french_press", "Dishrag": "hand_towel_or_rag",
    "Dress shoe (men)": "dress_shoe_men", "Drying rack": "drying_rack_for_dishes", "Iron": "iron_for_clothes",
    "Laptop": "laptop_open", "Mixing/salad bowl": "mixing_salad_bowl", "Nail": "nail_fastener",
    "Weight (exercise)": "weight_exercise",
}  # fmt: skip
SIXTEEN_TEXT = {
    "airplane": "404", "bear": "294-297", "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145", "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898 899 901 907", "car": "436 511 817", "cat": "281-286", "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385 386", "keyboard": "508 878", "knife": "499", "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}  # fmt: skip
SIXTEEN_COUNTS = [1, 4, 2, 49, 5, 7, 3, 6, 4, 3, 109, 2, 2, 1, 1, 8]
NINE_TEXT = {
    "00_dog": "151-170 173-268",
    "01_bird": "7-24 87-100 127-146",
    "02_wheeled vehicle": "407 408 428 436 444 468 511 547 555 561 565 569 573 586 603 609 612 627 656 661 665 670 "
    "671 675 690 705 717 734 751 757 791 802 803 817 820 829 847 864 866 867 870 880",
    "03_reptile": "33-68",
    "04_carnivore": "269-280 286-299 356-362 387 388",
    "05_insect": "300-326",
    "06_musical instrument": "401 402 420 432 486 494 513 541 546 558 566 577 579 593 594 641 642 683 684 687 699 776 "
    "822 875 881 889",
    "07_primate": "365-384",
    "08_fish": "0-6 389-397",
}
NINE_COUNTS = [116, 52, 42, 36, 35, 27, 26, 20, 16]


def numbers(words: str) -> tuple[int, ...]:
    """All the numbers of text such as `8 10-12`."""
    found: list[int] = []
    for part in words.split():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def objects() -> dict[str, tuple[int, ...]]:
    """ObjectNet's folders and the outputs of each."""
    found = {}
    for entry in " ".join(OBJECTNET_TEXT.split()).split("; "):
        words = entry.split()
        first = next(i for i, w in enumerate(words) if w.isdigit())
        name = " ".join(words[:first])
        found[FOLDERS.get(name, name.lower().replace(" ", "_"))] = tuple(map(int, words[first:]))
    return found
