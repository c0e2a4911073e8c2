"""Regions of Contentstack and their hosts."""

from __future__ import annotations

from flagmw.exceptions import ConfigError

# By the names in the vendor's settings: what stands before the host's name.
PREFIXES = {
    "NA": "",
    "EU": "eu-",
    "AU": "au-",
    "AZURE_NA": "azure-na-",
    "AZURE_EU": "azure-eu-",
    "GCP_NA": "gcp-na-",
    "GCP_EU": "gcp-eu-",
}


def management_url(region: str) -> str:
    """Return the address of the Management API in *region*."""
    return f"https://{_prefix(region)}personalize-api.contentstack.com"


def token_url(region: str) -> str:
    """Return the address at which OAuth tokens are renewed in *region*."""
    return f"https://{_prefix(region)}developerhub-api.contentstack.com/token"


def _prefix(region: str) -> str:
    # The decision side calls the first three aws-na, aws-eu and aws-au.
    name = region.upper().replace("-", "_").removeprefix("AWS_") if isinstance(region, str) else ""
    found = PREFIXES.get(name)
    if found is None:
        raise ConfigError(f"region: {region!r} is none; use one of {', '.join(PREFIXES)}, or base_url")
    return found
