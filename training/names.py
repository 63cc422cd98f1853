"""The words of the training: synonyms of each class, and names that the world never holds."""

from __future__ import annotations

from activesam_ros.demo.world.classes import ClassId

# Names of a class in addition to those of the Cityscapes vocabulary.
SYNONYMS: dict[ClassId, tuple[str, ...]] = {
    ClassId.ROAD: ("street", "roadway", "highway", "asphalt road", "carriageway"),
    ClassId.SIDEWALK: ("footpath", "walkway", "pedestrian path"),
    ClassId.BUILDING: ("house", "apartment building", "office building", "building-other"),
    ClassId.WALL: ("garden wall", "stone wall", "concrete wall"),
    ClassId.FENCE: ("railing", "wire fence", "picket fence"),
    ClassId.POLE: ("post", "lamp post", "utility pole"),
    ClassId.TRAFFIC_LIGHT: ("traffic signal", "stoplight", "signal light"),
    ClassId.TRAFFIC_SIGN: ("road sign", "street sign", "sign", "stop sign"),
    ClassId.VEGETATION: ("vegetation", "bush", "shrub", "plant", "trees"),
    ClassId.TERRAIN: ("terrain", "lawn", "earth", "dirt", "meadow"),
    ClassId.SKY: ("clouds", "sky-other", "heaven"),
    ClassId.PERSON: ("pedestrian", "human", "walker", "people", "child"),
    ClassId.RIDER: ("cyclist", "motorcyclist", "bike rider"),
    ClassId.CAR: ("automobile", "vehicle", "sedan", "passenger car", "van"),
    ClassId.TRUCK: ("lorry", "delivery truck", "semi truck"),
    ClassId.BUS: ("coach", "city bus", "omnibus"),
    ClassId.TRAIN: ("tram", "streetcar", "railway car"),
    ClassId.MOTORCYCLE: ("motorbike", "moped", "scooter", "minibike"),
    ClassId.BICYCLE: ("bike", "cycle", "push bike"),
}

# The other names of these vocabularies are trained as absent.
ABSENT_VOCABULARIES = ("ade20k", "coco_stuff", "coco_object", "context59")

# Left out: parts of what the world holds, and words that can mean several of its classes.
AMBIGUOUS = frozenset(
    {
        *("window", "window-other", "windowpane", "window pane", "door", "door-stuff", "roof"),
        *("pavement", "ground", "ground-other", "land", "light", "branch", "leaves"),
        *("structural-other", "solid-other", "metal", "stone", "wall-other", "plant-other"),
        *("wall-brick", "brick wall", "wall-stone", "wall-concrete", "background", "mud"),
    }
)
