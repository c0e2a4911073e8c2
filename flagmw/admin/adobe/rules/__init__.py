"""Rules of audiences, built so that no invalid tree can be made.

rule = profile("memberLevel").equals("gold") & geo("region").matches("california")
admin.audiences.create({"name": "Gold members in California", "targetRule": rule})
"""

from flagmw.admin.adobe.rules.audience import AudienceRule, audience
from flagmw.admin.adobe.rules.reading import audience_rule, target_rule
from flagmw.admin.adobe.rules.rule import Rule
from flagmw.admin.adobe.rules.target import Attribute, TargetRule, attribute, geo, mbox, page, profile

__all__ = [
    "Attribute",
    "AudienceRule",
    "Rule",
    "TargetRule",
    "attribute",
    "audience",
    "audience_rule",
    "geo",
    "mbox",
    "page",
    "profile",
    "target_rule",
]
