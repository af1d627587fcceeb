// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IPlanRegistry} from "../../../contracts/interfaces/IPlanRegistry.sol";
import {World} from "./World.sol";
import {Wallet1271, YesWallet} from "./actors/Wallets.sol";
import {DevToken} from "./tokens/DevToken.sol";
import {LyingAuthorisationToken, PermitlessToken} from "./tokens/Hostile.sol";

/// @notice purchaseWithPermit (ERC-2612) and purchaseWithAuthorisation (EIP-3009).
contract PurchaseSignedTest is World {
    uint96 internal constant PRICE = 25_000_000;
    DevToken internal token;
    bytes32 internal planId;
    bytes32 internal nativePlan;

    function setUp() public override {
        super.setUp();
        token = new DevToken();
        planId = tokenPlan(address(token));
        nativePlan = createPlan(creditTerms());
        token.mint(alice, 10 * PRICE);
    }

    function tokenPlan(address token_) internal returns (bytes32) {
        IPlanRegistry.Terms memory terms = creditTerms();
        (terms.token, terms.price) = (token_, PRICE);
        return createPlan(terms);
    }

    // ----------------------------------------------------------------------------------------- purchaseWithPermit

    function permit(uint256 value, uint256 deadline) internal view returns (uint8 v, bytes32 r, bytes32 s) {
        bytes32 structHash =
            keccak256(abi.encode(token.PERMIT_TYPEHASH(), alice, address(plans), value, token.nonces(alice), deadline));
        return vm.sign(keyOf("alice"), keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
    }

    function test_purchaseWithPermit_buysWithoutAnApproval() public {
        (uint8 v, bytes32 r, bytes32 s) = permit(2 * PRICE, START);
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Purchased(planId, bob, alice, 2, 2 * PRICE, 0);
        vm.prank(alice);
        plans.purchaseWithPermit(planId, bob, 2, 2 * PRICE, START, v, r, s);
        eq(balanceOf(planId, bob), 200, "credits");
        eq(token.balanceOf(address(plans)), 2 * PRICE, "held");
        eq(token.allowance(alice, address(plans)), 0, "nothing left to take");
    }

    function test_purchaseWithPermit_survivesAFrontRunPermit() public {
        (uint8 v, bytes32 r, bytes32 s) = permit(PRICE, START);
        vm.prank(stranger);
        token.permit(alice, address(plans), PRICE, START, v, r, s);
        vm.prank(alice);
        plans.purchaseWithPermit(planId, alice, 1, PRICE, START, v, r, s);
        eq(balanceOf(planId, alice), 100, "credits");
    }

    function test_purchaseWithPermit_worksWithAnAllowanceAndABrokenPermit() public {
        PermitlessToken plain = new PermitlessToken();
        bytes32 plainPlan = tokenPlan(address(plain));
        plain.mint(alice, PRICE);
        vm.startPrank(alice);
        plain.approve(address(plans), PRICE);
        plans.purchaseWithPermit(plainPlan, alice, 1, PRICE, START, 27, "r", "s");
        vm.stopPrank();
        eq(balanceOf(plainPlan, alice), 100, "credits");
    }

    function test_purchaseWithPermit_refusesABadPermitWithoutAllowance() public {
        bytes memory failed =
            abi.encodeWithSelector(IPlanRegistry.TransferFailed.selector, token, plans, uint256(PRICE));
        (uint8 v, bytes32 r, bytes32 s) = permit(PRICE, START - 1);
        refuse(failed);
        vm.prank(alice);
        plans.purchaseWithPermit(planId, alice, 1, PRICE, START - 1, v, r, s);
        (v, r, s) = permit(PRICE, START);
        refuse(failed);
        vm.prank(bob); // the permit is alice's: it lets nobody else spend her tokens
        plans.purchaseWithPermit(planId, bob, 1, PRICE, START, v, r, s);
        eq(token.balanceOf(alice), 10 * PRICE, "untouched");
    }

    function test_purchaseWithPermit_isBoundByMaxPrice() public {
        (uint8 v, bytes32 r, bytes32 s) = permit(PRICE, START);
        refuse(abi.encodeWithSelector(IPlanRegistry.PriceAboveMaximum.selector, PRICE, PRICE - 1));
        vm.prank(alice);
        plans.purchaseWithPermit(planId, alice, 1, PRICE - 1, START, v, r, s);
    }

    function test_purchaseWithPermit_needsATokenPlan() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.TokenRequired.selector, nativePlan));
        vm.prank(alice);
        plans.purchaseWithPermit(nativePlan, alice, 1, NO_BOUND, START, 27, "r", "s");
        refuse(IPlanRegistry.PlanUnknown.selector);
        vm.prank(alice);
        plans.purchaseWithPermit("unknown", alice, 1, NO_BOUND, START, 27, "r", "s");
    }

    // ---------------------------------------------------------------------------------- purchaseWithAuthorisation

    function authorise(uint256 key, address payer, uint256 value, bytes32 nonce) internal view returns (bytes memory) {
        bytes32 structHash = keccak256(
            abi.encode(
                token.RECEIVE_WITH_AUTHORIZATION_TYPEHASH(), payer, address(plans), value, START - 1, START + 1, nonce
            )
        );
        return signature(key, keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash)));
    }

    function submit(bytes32 plan, address subscriber, uint32 units, bytes32 salt, bytes memory signature_) internal {
        vm.prank(relayer);
        plans.purchaseWithAuthorisation(plan, subscriber, units, alice, salt, START - 1, START + 1, signature_);
    }

    function test_authorisationNonce_isTheHashOfEverythingThatIsBought() public view {
        eq(
            plans.authorisationNonce(planId, bob, 2, "salt"),
            keccak256(abi.encode(block.chainid, address(plans), planId, bob, uint32(2), bytes32("salt"))),
            "nonce"
        );
    }

    function test_purchaseWithAuthorisation_costsThePayerNoGas() public {
        bytes memory signed =
            authorise(keyOf("alice"), alice, 2 * PRICE, plans.authorisationNonce(planId, bob, 2, "salt"));
        vm.expectEmit(address(plans));
        emit IPlanRegistry.Purchased(planId, bob, alice, 2, 2 * PRICE, 0);
        submit(planId, bob, 2, "salt", signed);
        eq(balanceOf(planId, bob), 200, "credits");
        eq(token.balanceOf(alice), 8 * PRICE, "paid");
        eq(plans.earnings(planId, builder), 2 * PRICE, "earned");
    }

    function test_purchaseWithAuthorisation_takesContractWallets() public {
        address wallet = address(new Wallet1271(alice));
        token.mint(wallet, PRICE);
        bytes memory signed =
            authorise(keyOf("alice"), wallet, PRICE, plans.authorisationNonce(planId, wallet, 1, "salt"));
        vm.prank(relayer);
        plans.purchaseWithAuthorisation(planId, wallet, 1, wallet, "salt", START - 1, START + 1, signed);
        eq(balanceOf(planId, wallet), 100, "credits");
    }

    function test_purchaseWithAuthorisation_takesSignaturesOfAnyLength() public {
        // a wallet of several keys: its signature is no r, s, v
        address wallet = address(new YesWallet());
        token.mint(wallet, PRICE);
        vm.prank(relayer);
        plans.purchaseWithAuthorisation(planId, wallet, 1, wallet, "salt", START - 1, START + 1, new bytes(130));
        eq(balanceOf(planId, wallet), 100, "credits");
        eq(token.balanceOf(address(plans)), PRICE, "paid");
    }

    function test_purchaseWithAuthorisation_cannotBeRedirected() public {
        bytes memory signed =
            authorise(keyOf("alice"), alice, PRICE, plans.authorisationNonce(planId, alice, 1, "salt"));
        bytes32 otherPlan = tokenPlan(address(token));
        refuse(IPlanRegistry.TransferFailed.selector);
        submit(planId, relayer, 1, "salt", signed); // another subscriber
        refuse(IPlanRegistry.TransferFailed.selector);
        submit(otherPlan, alice, 1, "salt", signed); // another plan at the same price
        refuse(IPlanRegistry.TransferFailed.selector);
        submit(planId, alice, 1, "pepper", signed); // another salt
        submit(planId, alice, 1, "salt", signed);
        eq(balanceOf(planId, alice), 100, "what was signed is what is bought");
    }

    function test_purchaseWithAuthorisation_worksOnce() public {
        bytes memory signed =
            authorise(keyOf("alice"), alice, PRICE, plans.authorisationNonce(planId, alice, 1, "salt"));
        submit(planId, alice, 1, "salt", signed);
        refuse(IPlanRegistry.TransferFailed.selector);
        submit(planId, alice, 1, "salt", signed);
    }

    function test_purchaseWithAuthorisation_refusesAnotherValueOrSigner() public {
        bytes32 nonce = plans.authorisationNonce(planId, alice, 1, "salt");
        bytes memory signed = authorise(keyOf("alice"), alice, PRICE - 1, nonce);
        refuse(IPlanRegistry.TransferFailed.selector);
        submit(planId, alice, 1, "salt", signed);
        signed = authorise(keyOf("bob"), alice, PRICE, nonce);
        refuse(IPlanRegistry.TransferFailed.selector);
        submit(planId, alice, 1, "salt", signed);
    }

    function test_purchaseWithAuthorisation_obeysItsValidity() public {
        bytes memory signed =
            authorise(keyOf("alice"), alice, PRICE, plans.authorisationNonce(planId, alice, 1, "salt"));
        vm.warp(START + 1);
        refuse(IPlanRegistry.TransferFailed.selector);
        submit(planId, alice, 1, "salt", signed);
        vm.warp(START - 1);
        refuse(IPlanRegistry.TransferFailed.selector);
        submit(planId, alice, 1, "salt", signed);
    }

    function test_purchaseWithAuthorisation_refusesATokenThatOnlySaysSo() public {
        bytes32 lying = tokenPlan(address(new LyingAuthorisationToken()));
        refuse(IPlanRegistry.WrongPayment.selector);
        submit(lying, alice, 1, "salt", new bytes(65));
    }

    function test_purchaseWithAuthorisation_needsATokenPlan() public {
        refuse(abi.encodeWithSelector(IPlanRegistry.TokenRequired.selector, nativePlan));
        submit(nativePlan, alice, 1, "salt", new bytes(65));
        refuse(IPlanRegistry.PlanUnknown.selector);
        submit("unknown", alice, 1, "salt", new bytes(65));
    }

    function test_purchaseWithAuthorisation_obeysTheRulesOfSale() public {
        vm.prank(builder);
        plans.setPaused(planId, true);
        bytes memory signed =
            authorise(keyOf("alice"), alice, PRICE, plans.authorisationNonce(planId, alice, 1, "salt"));
        refuse(abi.encodeWithSelector(IPlanRegistry.PlanNotOnSale.selector, planId, false));
        submit(planId, alice, 1, "salt", signed);
    }
}
