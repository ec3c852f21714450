//! Errors that routers tell of segments from the server: its TCP hears them, whatever the port.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};

use super::super::until;
use super::super::{CLIENTS, Network, Place, SERVER, Service, on_each_port};
use super::path_mtu::is_known;

/// What the server's kernel counts of such errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    /// All of them.
    errors: u64,
    /// Those whose connection was not found.
    of_no_connection: u64,
    /// Those that quote a sequence number that is not outstanding.
    out_of_window: u64,
}

impl Heard {
    fn at(place: &Place, ipv6: bool) -> Result<Self> {
        place.run(|| {
            let read = |name: &str| {
                let path = format!("/proc/thread-self/net/{name}");
                std::fs::read_to_string(&path).context(path)
            };
            let out_of_window = of_table(&read("netstat")?, "TcpExt", "OutOfWindowIcmps")?;
            if !ipv6 {
                let snmp = read("snmp")?;
                let errors = of_table(&snmp, "Icmp", "InDestUnreachs")?;
                let of_no_connection = of_table(&snmp, "Icmp", "InErrors")?;
                return Ok(Self { errors, of_no_connection, out_of_window });
            }
            let snmp = read("snmp6")?;
            let counter = |name: &str| -> Result<u64> {
                let value = snmp.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
                value.with_context(|| format!("no counter {name}"))
            };
            let errors = counter("Icmp6InDestUnreachs")? + counter("Icmp6InPktTooBigs")?;
            Ok(Self { errors, of_no_connection: counter("Icmp6InErrors")?, out_of_window })
        })
    }
}

/// A counter of a table whose lines stand in pairs, names and values.
fn of_table(text: &str, table: &str, name: &str) -> Result<u64> {
    let prefix = format!("{table}: ");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs.find(|(own, _)| *own == name).with_context(|| format!("no counter {name}"))?;
    Ok(value.parse()?)
}

/// The path is too narrow for what the server sends: it learns of that. For [`narrow`](super::path_mtu::narrow).
pub(crate) fn too_big<S: Service>(service: &S) -> Result<()> {
    let network = service.network();
    on_each_port(service, |to| {
        network.forget_paths(SERVER)?;
        let mut talk = service.connect_to(to)?;
        talk.pass()?;
        let before = Heard::at(service.server(), to.is_ipv6())?;
        talk.receive_much()?;
        let after = Heard::at(service.server(), to.is_ipv6())?;
        matched(before, after)?;
        ensure!(is_known(network, to.ip())?, "the server's kernel does not know the path's MTU");
        Ok(())
    })
}

/// The client cannot be reached for a while: the server is told, and the connection goes on afterwards. Also once the
/// stack has sent what the server knows nothing of. For [`wide`](super::interface_mtu::wide).
pub(crate) fn unreachable<S: Service>(service: &S) -> Result<()> {
    let network = service.network();
    on_each_port(service, |to| {
        let mut talk = service.connect_to(to)?;
        talk.answer()?;
        talk.pass()?;
        talk.answer()?;
        let before = Heard::at(service.server(), to.is_ipv6())?;
        cut(network, to, "unreachable")?;
        talk.ask_server()?;
        let heard = until("an error that the server hears", || {
            let heard = Heard::at(service.server(), to.is_ipv6())?;
            Ok((heard.errors > before.errors).then_some(heard))
        });
        cut(network, to, "via")?;
        matched(before, heard?)?;
        talk.hear_server().context("once the client can be reached again")?;
        cut(network, to, "unreachable")?;
        let before = Heard::at(service.server(), to.is_ipv6())?;
        talk.ask_stack()?;
        // Whether it came from the server or from the stack, somebody is told.
        let heard = until("an error of an answer", || {
            let heard = Heard::at(service.server(), to.is_ipv6())?;
            Ok((heard.errors > before.errors).then_some(()))
        });
        cut(network, to, "via")?;
        heard?;
        talk.hear_stack().context("an answer, once the client can be reached again")?;
        talk.pass()
    })
}

/// Errors came, each for a connection of this host and for what is outstanding there.
fn matched(before: Heard, after: Heard) -> Result<()> {
    ensure!(after.errors > before.errors, "no error came: {before:?} {after:?}");
    if after.of_no_connection != before.of_no_connection || after.out_of_window != before.out_of_window {
        bail!("the server's TCP did not take an error for its own: {before:?} {after:?}");
    }
    Ok(())
}

/// Makes the way back to the client a dead end, or a way again.
fn cut(network: &Network, to: SocketAddr, how: &str) -> Result<()> {
    let client = CLIENTS[usize::from(to.is_ipv6())];
    let via = super::super::topology::transit_address(2, 1, client);
    let family = if to.is_ipv6() { "-6" } else { "-4" };
    // IPv6 would have two routes beside each other.
    network.ip("far", &format!("{family} route del {client}"))?;
    let route = if how == "via" { format!("{client} via {via}") } else { format!("unreachable {client}") };
    network.ip("far", &format!("{family} route add {route}"))
}
