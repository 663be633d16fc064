// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {NodeRegistry} from "../../src/NodeRegistry.sol";

/// @dev A provider, a coordinator or a treasury that calls back once for each ether it is paid. What the calls answered is
/// kept: the payer must come out whole whether they revert or not.
contract Reentrant {
    address private target;
    bytes private call_;
    uint256 public entered;
    uint256 public succeeded;
    bytes public answer;

    function arm(address target_, bytes calldata data) external {
        (target, call_) = (target_, data);
    }

    function act(address to, uint256 value, bytes calldata data) external payable {
        (bool ok, bytes memory reason) = to.call{value: value}(data);
        if (!ok) {
            assembly ("memory-safe") {
                revert(add(reason, 32), mload(reason))
            }
        }
    }

    receive() external payable {
        if (target == address(0)) return;
        ++entered;
        bool ok;
        (ok, answer) = target.call(call_);
        if (ok) ++succeeded;
    }
}

/// @dev A provider that takes no ether.
contract Refusing {
    error NoThanks();

    function register(NodeRegistry nodes, address node, bytes calldata consent) external payable {
        nodes.register{value: msg.value}(node, consent);
    }

    receive() external payable {
        revert NoThanks();
    }
}

/// @dev Ether that arrives without asking; a contract destroyed in its own constructor still pays out (EIP-6780).
contract Forced {
    constructor(address payable to) payable {
        selfdestruct(to);
    }
}
