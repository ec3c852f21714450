//! The planner as tables.

use super::*;
use crate::probe::{Capabilities, Kernel};

fn interface(index: u32, name: &str, hardware: u16, kind: Option<&str>) -> Interface {
    Interface {
        index,
        name: name.into(),
        hardware,
        up: true,
        mtu: 1500,
        kind: kind.map(Into::into),
        discipline: Some("noqueue".into()),
        ..Interface::default()
    }
}

fn facts() -> Facts {
    let lo = interface(1, "lo", LOOPBACK, None);
    let eth = interface(2, "eth0", ETHERNET, None);
    let veth = Interface { peer_elsewhere: true, ..interface(3, "veth0", ETHERNET, Some("veth")) };
    Facts {
        kernel: Kernel::parse("6.6.1"),
        capabilities: Capabilities { mask: u64::MAX },
        programs: Ok(()),
        bpffs: Ok(()),
        interfaces: Ok(vec![lo, eth, veth]),
        service: Vec::new(),
    }
}

fn with(more: Vec<Interface>) -> Facts {
    let mut facts = facts();
    facts.interfaces.as_mut().unwrap().extend(more);
    facts
}

#[test]
fn everything_is_hooked() {
    let plan = plan(&facts(), &Wishes::default()).unwrap();
    assert_eq!(plan.path, Path::Kernel);
    let found: Vec<_> = plan.devices.iter().map(|d| (d.ifindex, d.redirect)).collect();
    assert_eq!(found, [(1, Redirect::Loopback), (2, Redirect::Egress), (3, Redirect::Peer)]);
    assert!(plan.skipped.is_empty() && plan.causes.is_empty());
}

#[test]
fn each_interface_has_its_own_answer_about_xdp() {
    let with = |xdp| {
        let plan = plan(&facts(), &Wishes { xdp, ..Wishes::default() }).unwrap();
        plan.devices.into_iter().map(|device| device.xdp).collect::<Vec<_>>()
    };
    let costly = |kind: &str| Err(Without::Costly { kind: kind.into() });
    assert_eq!(with(xdp::Wish::Auto), [costly("loopback"), Ok(xdp::Mode::Native), costly("veth")]);
    assert_eq!(with(xdp::Wish::On), [const { Ok(xdp::Mode::Native) }; 3]);
    assert_eq!(with(xdp::Wish::Generic), [const { Ok(xdp::Mode::Generic) }; 3]);
    assert_eq!(with(xdp::Wish::Off), [const { Err(Without::Configured) }; 3]);
}

#[test]
fn each_obstacle_leads_to_the_user_path_with_its_cause() {
    let no = || Err("why".to_owned());
    let cases: Vec<(Facts, &[&str])> = vec![
        (Facts { kernel: Kernel::parse("6.5.9"), ..facts() }, &["kernel_too_old"]),
        (Facts { capabilities: Capabilities { mask: 0 }, ..facts() }, &["capabilities_missing"]),
        (
            Facts { capabilities: Capabilities { mask: 0 }, programs: no(), ..facts() },
            &["capabilities_missing"],
        ),
        (Facts { programs: no(), ..facts() }, &["programs_refused"]),
        (Facts { bpffs: no(), ..facts() }, &["no_bpffs"]),
        (Facts { interfaces: Err("why".into()), ..facts() }, &["interfaces_unknown"]),
        (Facts { interfaces: Ok(vec![]), ..facts() }, &["no_interface"]),
        (Facts { service: vec![Cause::Encrypted], bpffs: no(), ..facts() }, &["encrypted", "no_bpffs"]),
        (
            Facts { kernel: Kernel::parse("5.4"), programs: no(), bpffs: no(), ..facts() },
            &["kernel_too_old", "programs_refused", "no_bpffs"],
        ),
    ];
    for (facts, labels) in cases {
        let planned = plan(&facts, &Wishes::default()).unwrap();
        assert_eq!(planned.path, Path::User, "{labels:?}");
        assert!(planned.devices.is_empty());
        assert_eq!(planned.causes.iter().map(Cause::label).collect::<Vec<_>>(), labels);
        let demanded = plan(&facts, &Wishes { mode: Mode::Kernel, ..Wishes::default() });
        assert_eq!(demanded, Err(PlanError::KernelImpossible(planned.causes.clone())));
        // In place there is no other path, whatever mode is asked for.
        for mode in [Mode::Auto, Mode::Kernel, Mode::User] {
            let in_place = plan(&facts, &Wishes { mode, in_place: true, ..Wishes::default() });
            assert_eq!(in_place, Err(PlanError::InPlaceImpossible(planned.causes.clone())));
        }
    }
    let in_place = plan(&facts(), &Wishes { in_place: true, ..Wishes::default() }).unwrap();
    assert!(in_place.in_place && in_place.path == Path::Kernel);
}

#[test]
fn what_can_be_at_xdp_needs_no_tcx() {
    let with = |release, xdp| {
        let facts = Facts { kernel: Kernel::parse(release), ..facts() };
        let wishes = Wishes { xdp, links: Links::TcxOrXdp, ..Wishes::default() };
        let planned = plan(&facts, &wishes).unwrap();
        planned.causes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(with("5.9", xdp::Wish::Auto), [""; 0]);
    assert_eq!(with("6.6", xdp::Wish::Off), [""; 0]);
    let old = |release, needed| format!("kernel {release} is too old: {needed} links");
    assert_eq!(with("5.8", xdp::Wish::Auto), [old("5.8", "5.9 or newer is needed for XDP")]);
    assert_eq!(with("5.9", xdp::Wish::Off), [old("5.9", "6.6 or newer is needed for tcx")]);
}

#[test]
fn the_user_path_can_be_asked_for() {
    let wishes = Wishes { mode: Mode::User, interfaces: vec!["not-there".into()], ..Wishes::default() };
    assert_eq!(plan(&facts(), &wishes), Ok(Plan::user(vec![Cause::Configured])));
}

#[test]
fn interfaces_are_skipped_with_a_cause() {
    let bridge = interface(10, "br0", ETHERNET, Some("bridge"));
    let vrf = interface(11, "red", ETHERNET, Some("vrf"));
    let of = |index, name, master| Interface {
        master: Some(master),
        ..interface(index, name, ETHERNET, Some("veth"))
    };
    let tun = interface(14, "tun0", 65534, Some("tun"));
    let down = Interface { up: false, ..interface(15, "wg0", 65534, Some("wireguard")) };
    let sit = interface(16, "sit0", 776, None);
    let facts = with(vec![bridge, vrf, of(12, "port", 10), of(13, "member", 11), tun, down, sit]);
    let plan = plan(&facts, &Wishes::default()).unwrap();
    assert_eq!(plan.path, Path::Kernel);
    assert!(plan.devices.iter().any(|d| d.name == "br0" && d.redirect == Redirect::Egress));
    let found: Vec<_> = plan.skipped.iter().map(|s| (s.name.as_str(), s.cause.label(), s.blind)).collect();
    assert_eq!(
        found,
        [
            ("red", "vrf", true),
            ("port", "enslaved", false),
            ("tun0", "no_ethernet_header", true),
            ("wg0", "no_ethernet_header", false),
            ("sit0", "no_ethernet_header", true),
        ]
    );
    assert_eq!(plan.blind().count(), 3);
    let vrfs: Vec<_> = plan.devices.iter().filter(|d| d.vrf != 0).map(|d| (d.name.as_str(), d.vrf)).collect();
    assert_eq!(vrfs, [("member", 11)]);
}

#[test]
fn a_veth_whose_peer_is_here_is_no_peer() {
    let facts = with(vec![interface(20, "veth9", ETHERNET, Some("veth"))]);
    let plan = plan(&facts, &Wishes::default()).unwrap();
    assert_eq!(plan.devices.last().unwrap().redirect, Redirect::Egress);
}

#[test]
fn where_packets_may_wait_none_goes_to_the_peer() {
    for discipline in [None, Some("noop"), Some("tbf"), Some("fq"), Some("pfifo_fast"), Some("mq")] {
        let veth = Interface {
            peer_elsewhere: true,
            discipline: discipline.map(Into::into),
            ..interface(20, "veth9", ETHERNET, Some("veth"))
        };
        let plan = plan(&with(vec![veth]), &Wishes::default()).unwrap();
        assert_eq!(plan.devices.last().unwrap().redirect, Redirect::Egress, "{discipline:?}");
    }
}

#[test]
fn only_named_interfaces_are_hooked_and_missing_ones_are_an_error() {
    let wishes = Wishes { interfaces: vec!["eth0".into()], ..Wishes::default() };
    let planned = plan(&facts(), &wishes).unwrap();
    assert_eq!(planned.devices.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["eth0"]);
    assert_eq!(planned.blind().map(|s| s.cause.label()).collect::<Vec<_>>(), ["not_named", "not_named"]);

    let wishes = Wishes { interfaces: vec!["eth0".into(), "eth9".into()], ..wishes };
    let error = plan(&facts(), &wishes).unwrap_err();
    assert_eq!(error.to_string(), "no such interface: eth9; there are lo, eth0, veth0");
}

#[test]
fn the_table_of_devices_has_an_end() {
    let facts = with((100..400).map(|i| interface(i, &format!("d{i}"), ETHERNET, Some("dummy"))).collect());
    let plan = plan(&facts, &Wishes::default()).unwrap();
    assert_eq!(plan.devices.len(), DEVICES_MAX as usize);
    assert!(plan.skipped.iter().all(|s| s.cause == Cause::TooMany));
}
