"""A small film with few frames, beside the original: one stage, `encode`."""

from reelmill.pipelines.proxy.params import ProxyParams
from reelmill.pipelines.proxy.pipeline import Proxy

__all__ = ["Proxy", "ProxyParams"]
