"""A vendor's item as it should be, for tests to spoil."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID


def item(number: int = 1, /, **changes: Any) -> dict[str, Any]:
    """A plain natural round. `changes` are paths with `__` for dots: `diamond__certificate__color="FANCY"`."""
    stone = str(UUID(int=number, version=4))
    made: dict[str, Any] = {
        "id": f"DIAMOND/{stone}",
        "price": 439_025,
        "discount": -3_284,
        "diamond": {
            "id": stone,
            "availability": "AVAILABLE",
            "supplier": {"id": "supplier-1", "name": "Cutters & Co"},
            "supplierStockId": "ST-100-77",
            "image": "https://images.example/stone.jpg?size=500",
            "video": "https://videos.example/stone/video/500/500",
            "supplier_video_link": None,
            "v360": None,
            "brown": "No",
            "green": "No",
            "blue": None,
            "gray": None,
            "other": None,
            "milky": None,
            "eyeClean": None,
            "mine_of_origin": None,
            "location": "INDIA",
            "delivery_time": {"min_business_days": 3, "max_business_days": 8},
            "return_window": 7,
            "certificate": {
                "id": "certificate-1",
                "lab": "GIA",
                "certNumber": "2205551234",
                "shape": "ROUND",
                "carats": 1.5,
                "color": "D",
                "clarity": "I1",
                "cut": "EX",
                "polish": "EX",
                "symmetry": "VG",
                "floInt": "NON",
                "floCol": None,
                "f_color": None,
                "f_intensity": None,
                "f_overtone": None,
                "length": "7.200000",
                "width": "7.3",
                "depth": "4.500000",
                "depthPercentage": "62.100000",
                "table": "57",
                "crownAngle": "34.5",
                "pavAngle": None,
                "girdle": "TN - TK",
                "culetSize": "NON",
                "keyToSymbols": "Crystal, Feather",
                "comments": "Additional clouds are not shown.",
                "labgrown": False,
                "labgrown_type": None,
                "treated": False,
                "pdfUrl": "https://certificates.example/2205551234.pdf",
                "image": None,
                "v360": None,
            },
        },
    }
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = made
        for parent in parents:
            place = place[parent]
        place[name] = value
    return made


def page(*items: object, aliased: bool = True) -> bytes:
    """A reply with these items, as the vendor sends it."""
    query = {"diamonds_by_query": {"items": list(items), "total_count": len(items)}}
    return json.dumps({"data": {"as": query} if aliased else query}).encode()
