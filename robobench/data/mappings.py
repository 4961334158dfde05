"""Which outputs of an ImageNet model stand behind the classes of other label spaces.

Tables are text: `name numbers` by class, numbers are ImageNet classes, `8-10` is 8, 9 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping

# the 113 classes of ObjectNet that ImageNet has, by folder name (Barbu et al., 2019), and their 125 outputs
_OBJECTNET = """
alarm_clock 409 530; backpack 414; banana 954; band_aid 419; basket 790; beer_bottle 440; bench 703; bicycle
671 444; binder_closed 446; bottle_cap 455; bread_loaf 930; broom 462; bucket 463; butchers_knife 499;
can_opener 473; candle 470; cellphone 487; chair 423 559 765; clothes_hamper 588; coffee_french_press 550;
combination_lock 507; computer_mouse 673; desk_lamp 846; doormat 539; dress 578; dress_shoe_men 630; drill
740; drinking_cup 968; drying_rack_for_dishes 729; envelope 549; fan 545; frying_pan 567; full_sized_towel
434; hair_dryer 589; hammer 587; hand_towel_or_rag 533; helmet 560 518; iron_for_clothes 606; jeans 608;
keyboard 508; ladle 618; lampshade 619; laptop_open 620; lemon 951; letter_opener 623; lighter 626; lipstick
629; match 644; measuring_cup 647; microwave 651; mixing_salad_bowl 659; monitor 664; mug 504; nail_fastener
677; necklace 679; orange 950; padlock 695; paintbrush 696; paper_towel 700; pen 418 749 563; pill_bottle
720; pillow 721; pitcher 725; plastic_bag 728; plate 923; plunger 731; pop_can 737; portable_heater 811;
printer 742; remote_control 761; ruler 769; running_shoe 770; safety_pin 772; salt_shaker 773; sandal 774;
screw 783; shovel 792; skirt 601 655 689; sleeping_bag 797; soap_dispenser 804; sock 806; soup_bowl 809;
spatula 813; speaker 632; still_camera 732 759; strainer 828; stuffed_animal 850; suit_jacket 834;
sunglasses 837; sweater 841; swimming_trunks 842; t-shirt 610; teapot 849; tennis_racket 752; tie 457 906;
toaster 859; toilet_paper_roll 999; trash_bin 412; tray 868; tv 851; umbrella 879; vacuum_cleaner 882; vase
883; wallet 893; watch 531; water_bottle 898; weight_exercise 543; weight_scale 778; wheel 479 694; whistle
902; wine_bottle 907; winter_glove 658; wok 909
"""

# the 16 entry-level categories of Geirhos et al. (2019), whose order is that of the alphabet
_ENTRY_LEVEL = """
airplane 404; bear 294-297; bicycle 444 671;
bird 8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145;
boat 472 554 625 814 914; bottle 440 720 737 898-899 901 907; car 436 511 817; cat 281-286;
chair 423 559 765 857; clock 409 530 892;
dog 152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268;
elephant 385-386; keyboard 508 878; knife 499; oven 766; truck 555 569 656 675 717 734 864 867
"""

# the 9 classes of ImageNet-9 (Xiao et al., 2020), in the order of its folders
_IMAGENET_9 = """
dog 151-170 173-268; bird 7-24 87-100 127-146;
wheeled_vehicle 407-408 428 436 444 468 511 547 555 561 565 569 573 586 603 609 612 627 656 661 665
670-671 675 690 705 717 734 751 757 791 802-803 817 820 829 847 864 866-867 870 880;
reptile 33-68; carnivore 269-280 286-299 356-362 387-388; insect 300-326;
musical_instrument 401-402 420 432 486 494 513 541 546 558 566 577 579 593-594 641-642 683-684 687 699
776 822 875 881 889;
primate 365-384; fish 0-6 389-397
"""

# the 200 classes that the images of ImageNet-O were chosen against (Hendrycks et al., 2021)
_IMAGENET_O = """
n01443537 n01704323 n01770081 n01784675 n01819313 n01820546 n01910747 n01917289 n01968897 n02074367
n02317335 n02319095 n02395406 n02454379 n02606052 n02655020 n02666196 n02672831 n02730930 n02777292
n02783161 n02786058 n02787622 n02791270 n02808304 n02817516 n02841315 n02865351 n02877765 n02892767
n02906734 n02910353 n02916936 n02948072 n02965783 n03000134 n03000684 n03017168 n03026506 n03032252
n03075370 n03109150 n03126707 n03134739 n03160309 n03196217 n03207743 n03218198 n03223299 n03240683
n03271574 n03291819 n03297495 n03314780 n03325584 n03344393 n03347037 n03372029 n03376595 n03388043
n03388183 n03400231 n03445777 n03457902 n03467068 n03482405 n03483316 n03494278 n03530642 n03544143
n03584829 n03590841 n03598930 n03602883 n03649909 n03661043 n03666591 n03676483 n03692522 n03706229
n03717622 n03720891 n03721384 n03724870 n03729826 n03733131 n03733281 n03742115 n03786901 n03788365
n03794056 n03804744 n03814639 n03814906 n03825788 n03840681 n03843555 n03854065 n03857828 n03868863
n03874293 n03884397 n03891251 n03908714 n03920288 n03929660 n03930313 n03937543 n03942813 n03944341
n03961711 n03970156 n03982430 n03991062 n03995372 n03998194 n04005630 n04023962 n04033901 n04040759
n04067472 n04074963 n04116512 n04118776 n04125021 n04127249 n04131690 n04141975 n04153751 n04154565
n04201297 n04204347 n04209133 n04209239 n04228054 n04235860 n04243546 n04252077 n04254120 n04258138
n04265275 n04270147 n04275548 n04330267 n04332243 n04336792 n04347754 n04371430 n04371774 n04372370
n04376876 n04409515 n04417672 n04418357 n04423845 n04429376 n04435653 n04442312 n04482393 n04501370
n04507155 n04525305 n04542943 n04554684 n04557648 n04562935 n04579432 n04591157 n04597913 n04599235
n06785654 n06874185 n07615774 n07693725 n07695742 n07697537 n07711569 n07714990 n07715103 n07716358
n07717410 n07718472 n07720875 n07742313 n07745940 n07747607 n07749582 n07753275 n07753592 n07754684
n07768694 n07836838 n07871810 n07873807 n07880968 n09229709 n09472597 n12144580 n12267677 n13052670
"""


def objectnet() -> Mapping[str, tuple[int, ...]]:
    """The 113 classes of ObjectNet that ImageNet has, by folder name.

    >>> len(objectnet()), objectnet()["chair"]
    (113, (423, 559, 765))
    """
    return _table(_OBJECTNET)


def entry_level() -> Mapping[str, tuple[int, ...]]:
    """The 16 entry-level categories behind which 207 of ImageNet's classes stand.

    >>> sum(map(len, entry_level().values())), entry_level()["bear"]
    (207, (294, 295, 296, 297))
    """
    return _table(_ENTRY_LEVEL)


def imagenet_9() -> Mapping[str, tuple[int, ...]]:
    """The 9 classes of ImageNet-9, of which 370 of ImageNet's are parts.

    >>> list(imagenet_9())[:2], sum(map(len, imagenet_9().values()))
    (['dog', 'bird'], 370)
    """
    return _table(_IMAGENET_9)


def imagenet_o() -> tuple[str, ...]:
    """The WordNet ids of ImageNet-O's 200 folders, in order.

    >>> imagenet_o()[0], len(imagenet_o())
    ('n01443537', 200)
    """
    return tuple(_IMAGENET_O.split())


def _table(text: str) -> dict[str, tuple[int, ...]]:
    rows = [row.split() for row in text.split(";")]
    return {name: tuple(n for part in parts for n in _numbers(part)) for name, *parts in rows}


def _numbers(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)
