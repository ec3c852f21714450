//! Rules on the server's host, by port: they hold as they are written for the port that the client connects to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::open::LIMIT;
use super::super::{CLIENT, CLIENTS, SERVER, Service, Talk, Way, on_each_port};

/// How soon a new rule holds for connections that there are.
const HOLDS_WITHIN: Duration = Duration::from_secs(2);

/// How long one tries who must not get in.
const SHORT: Duration = Duration::from_millis(1500);

/// What every host needs: itself, and its neighbours' addresses.
const NEEDED: &str = "iifname \"lo\" accept\n\
                      icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n";

/// Another address of the client's host.
const OTHERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 78, 7, 2)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 3))];

fn other<S: Service>(service: &S) -> Result<()> {
    let network = service.network();
    network.ip(CLIENT, &format!("address add {}/32 dev veth0", OTHERS[0]))?;
    network.ip(CLIENT, &format!("address add {}/64 dev veth0 nodad", OTHERS[1]))?;
    network.ip(SERVER, &format!("route add {} dev veth0", OTHERS[0]))
}

/// Rules of a chain that sees what comes to this host.
fn input<S: Service>(service: &S, policy: &str, rules: &str) -> Result<()> {
    service.network().rules(
        SERVER,
        &format!(
            "table inet own {{\nchain input {{\ntype filter hook input priority 0; policy {policy};\n{rules}\n}}\n}}"
        ),
    )
}

/// `saddr` of the family of an address.
fn from(address: IpAddr) -> String {
    format!("{} saddr {address}", if address.is_ipv4() { "ip" } else { "ip6" })
}

/// Who may get in is served.
fn gets_in<S: Service>(service: &S, way: Way<'_>) -> Result<()> {
    let mut talk = service.open(way).context("a client that may")?;
    talk.pass()?;
    talk.answer()?;
    talk.receive_much()?;
    talk.answer()
}

/// Who may not has not even a connection.
fn stays_out<S: Service>(service: &S, way: Way<'_>) -> Result<()> {
    let Ok(mut talk) = service.open(way.within(SHORT)) else { return Ok(()) };
    let served = talk.answer().is_ok() || talk.pass().is_ok();
    bail!("a client that may not get in is connected{}", if served { " and served" } else { "" })
}

/// The port that is not this one, if the service has two.
fn beside<S: Service>(service: &S, to: SocketAddr) -> Option<SocketAddr> {
    let other = service.ports().into_iter().find(|port| *port != to.port());
    other.map(|port| SocketAddr::new(to.ip(), port))
}

/// Everything is dropped but what comes to one port.
pub(crate) fn one_port_is_open<S: Service>(service: &S) -> Result<()> {
    let checked = on_each_port(service, |to| {
        input(service, "drop", &format!("{NEEDED}tcp dport {} accept", to.port()))?;
        gets_in(service, Way::new(service.client(), to))?;
        let closed = beside(service, to).unwrap_or(SocketAddr::new(to.ip(), to.port() + 1));
        stays_out(service, Way::new(service.client(), closed)).context("by the other port")
    });
    service.network().rules(SERVER, "")?;
    checked
}

/// A source is dropped on one port.
pub(crate) fn a_source_is_dropped<S: Service>(service: &S) -> Result<()> {
    other(service)?;
    let checked = on_each_port(service, |to| {
        let client = OTHERS[usize::from(to.is_ipv6())];
        input(service, "accept", &format!("{} tcp dport {} drop", from(client), to.port()))?;
        judge_source(service, to, client)
    });
    service.network().rules(SERVER, "")?;
    checked
}

/// The same at the device: the hook `ingress` of nftables, which is behind tcx.
pub(crate) fn a_source_is_dropped_at_the_device<S: Service>(service: &S) -> Result<()> {
    other(service)?;
    let checked = on_each_port(service, |to| {
        let client = OTHERS[usize::from(to.is_ipv6())];
        let rule = format!("{} tcp dport {} drop", from(client), to.port());
        let table = format!(
            "table netdev own {{\nchain own {{\ntype filter hook ingress device \"veth0\" priority 0\n{rule}\n}}\n}}"
        );
        service.network().rules(SERVER, &table)?;
        judge_source(service, to, client)
    });
    service.network().rules(SERVER, "")?;
    checked
}

fn judge_source<S: Service>(service: &S, to: SocketAddr, dropped: IpAddr) -> Result<()> {
    let place = service.client();
    let usual = CLIENTS[usize::from(to.is_ipv6())];
    gets_in(service, Way::new(place, to).from(usual)).context("from another address")?;
    stays_out(service, Way::new(place, to).from(dropped))?;
    let Some(other) = beside(service, to) else { return Ok(()) };
    gets_in(service, Way::new(place, other).from(dropped)).context("by the other port")
}

/// Connections are open, and are answered in the stack only, when a rule comes.
pub(crate) fn a_rule_that_comes_later_holds<S: Service>(service: &S) -> Result<()> {
    let checked = on_each_port(service, |to| {
        service.network().rules(SERVER, "")?;
        let mut talk = service.connect_to(to)?;
        (0..20).try_for_each(|_| talk.answer())?;
        let client = CLIENTS[usize::from(to.is_ipv6())];
        input(service, "accept", &format!("{} tcp dport {} drop", from(client), to.port()))?;
        falls_silent(&mut *talk)?;
        // Once it is gone, what was sent meanwhile arrives.
        service.network().rules(SERVER, "")?;
        talk.set_patience(LIMIT)?;
        talk.hear_stack().context("once the rule is gone")?;
        talk.pass()
    });
    service.network().rules(SERVER, "")?;
    checked
}

/// A request is sent whose reply does not come.
fn falls_silent(talk: &mut dyn Talk) -> Result<()> {
    talk.set_patience(HOLDS_WITHIN)?;
    let start = Instant::now();
    loop {
        let late = start.elapsed() > HOLDS_WITHIN;
        talk.ask_stack()?;
        if talk.hear_stack().is_err() {
            return Ok(());
        }
        ensure!(!late, "served more than {HOLDS_WITHIN:?} after the rule came");
        sleep(Duration::from_millis(10));
    }
}

/// So many new connections may come to one port, and no more.
pub(crate) fn new_connections_are_limited<S: Service>(service: &S) -> Result<()> {
    let checked = on_each_port(service, |to| {
        let limit = "limit rate over 1/hour burst 1 packets drop";
        input(service, "accept", &format!("{NEEDED}tcp dport {} ct state new {limit}", to.port()))?;
        let way = Way::new(service.client(), to);
        gets_in(service, way).context("the first connection")?;
        stays_out(service, way).context("the second connection")?;
        let Some(other) = beside(service, to) else { return Ok(()) };
        let way = Way::new(service.client(), other);
        (0..3).try_for_each(|_| gets_in(service, way)).context("by the other port")
    });
    service.network().rules(SERVER, "")?;
    checked
}
