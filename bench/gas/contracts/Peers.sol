// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERC1155 as OpenZeppelin1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {ERC1155 as Solady1155} from "solady/src/tokens/ERC1155.sol";

/// @notice OpenZeppelin's ERC-1155 with nothing around it: anybody mints and burns.
contract BareOpenZeppelin is OpenZeppelin1155("") {
    function mint(address to, uint256 id, uint256 value) external payable {
        _mint(to, id, value, "");
    }

    function burn(address from, uint256 id, uint256 value) external {
        _burn(from, id, value);
    }
}

/// @notice Solady's ERC-1155 with nothing around it: anybody mints and burns.
contract BareSolady is Solady1155 {
    function uri(uint256) public pure override returns (string memory) {
        return "";
    }

    function mint(address to, uint256 id, uint256 value) external payable {
        _mint(to, id, value, "");
    }

    function burn(address from, uint256 id, uint256 value) external {
        _burn(from, id, value);
    }
}
