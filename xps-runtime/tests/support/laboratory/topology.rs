//! Which hosts there are, and how they are linked. The server and the client have the same addresses in all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::{CLIENT, CLIENTS, Network, SERVER, SERVERS};

/// One end of a link: a host and its device.
type End = (&'static str, &'static str);

impl Network {
    /// Client and server on one link, both with a device `veth0`.
    pub(crate) fn direct(number: u32) -> Result<Self> {
        let network = Self::new(number)?;
        network.link((SERVER, "veth0"), (CLIENT, "veth0"))?;
        network.neighbours()?;
        Ok(network)
    }

    /// Client and server with a host `wire` between, which bridges its devices `client` and `server`.
    pub(crate) fn bridged(number: u32) -> Result<Self> {
        let mut network = Self::new(number)?;
        network.add("wire")?;
        network.ip("wire", "link add bridge type bridge")?;
        network.ip("wire", "link set bridge up")?;
        for (host, device) in [(SERVER, "server"), (CLIENT, "client")] {
            network.link((host, "veth0"), ("wire", device))?;
            network.ip("wire", &format!("link set {device} master bridge"))?;
        }
        network.neighbours()?;
        Ok(network)
    }

    /// client - router `near` - router `far` - server. The link between the routers has this MTU, the others 1500.
    pub(crate) fn routed(number: u32, mtu: u32) -> Result<Self> {
        let mut network = Self::new(number)?;
        network.add_router("near")?;
        network.add_router("far")?;
        network.transit(1, (CLIENT, "veth0"), ("near", "client"))?;
        network.transit(2, ("near", "middle"), ("far", "middle"))?;
        network.transit(3, ("far", "server"), (SERVER, "veth0"))?;
        for host in ["near", "far"] {
            network.ip(host, &format!("link set middle mtu {mtu}"))?;
        }
        network.own(CLIENT, CLIENTS)?;
        network.own(SERVER, SERVERS)?;
        network.route(CLIENT, SERVERS, 1, 2, Some(CLIENTS))?;
        network.route("near", SERVERS, 2, 2, None)?;
        network.route("near", CLIENTS, 1, 1, None)?;
        network.route("far", SERVERS, 3, 2, None)?;
        network.route("far", CLIENTS, 2, 1, None)?;
        network.route(SERVER, CLIENTS, 3, 1, Some(SERVERS))?;
        Ok(network)
    }

    /// Requests come by the host `director`, over the server's `veth0`; replies leave by `gateway`, over its `veth1`.
    /// What would go back by the director is counted there and dropped ([`strayed`](Self::strayed)).
    pub(crate) fn direct_return(number: u32) -> Result<Self> {
        let mut network = Self::new(number)?;
        network.add_router("director")?;
        network.add_router("gateway")?;
        network.transit(1, (CLIENT, "veth0"), ("director", "client"))?;
        network.transit(2, (CLIENT, "veth1"), ("gateway", "client"))?;
        network.transit(3, ("director", "server"), (SERVER, "veth0"))?;
        network.transit(4, ("gateway", "server"), (SERVER, "veth1"))?;
        network.own(CLIENT, CLIENTS)?;
        network.own(SERVER, SERVERS)?;
        network.route(CLIENT, SERVERS, 1, 2, Some(CLIENTS))?;
        network.route("director", SERVERS, 3, 2, None)?;
        network.route("gateway", CLIENTS, 2, 1, None)?;
        network.route(SERVER, CLIENTS, 4, 1, Some(SERVERS))?;
        network.rules(
            "director",
            "table inet way {\ncounter strayed { }\nchain forward {\ntype filter hook forward priority 0\n\
             iifname \"server\" meta l4proto tcp counter name \"strayed\" drop\n}\n}",
        )?;
        Ok(network)
    }

    /// The same, but by rules of routing: the main table would have replies go back by the director.
    pub(crate) fn direct_return_by_rule(number: u32) -> Result<Self> {
        let network = Self::direct_return(number)?;
        for (client, server) in CLIENTS.into_iter().zip(SERVERS) {
            let family = if client.is_ipv6() { "-6" } else { "-4" };
            let (back, gateway) = (transit_address(3, 1, client), transit_address(4, 1, client));
            network.ip(SERVER, &format!("route replace {client} via {back} src {server}"))?;
            network.ip(SERVER, &format!("route add {client} via {gateway} src {server} table 78"))?;
            network.ip(SERVER, &format!("{family} rule add from {server} lookup 78"))?;
        }
        Ok(network)
    }

    /// Packets of TCP that came back to the director.
    pub(crate) fn strayed(&self) -> Result<u64> {
        let said = self.said("director", "nft list counter inet way strayed")?;
        let mut words = said.split_whitespace().skip_while(|word| *word != "packets");
        Ok(words.nth(1).unwrap_or_default().parse()?)
    }

    fn add_router(&mut self, host: &'static str) -> Result<()> {
        self.add(host)?;
        self.sysctl(host, "net.ipv4.ip_forward", "1")?;
        self.sysctl(host, "net.ipv6.conf.all.forwarding", "1")?;
        // Each error is told, however soon after the one before.
        self.sysctl(host, "net.ipv4.icmp_ratelimit", "0")?;
        self.sysctl(host, "net.ipv6.icmp.ratelimit", "0")
    }

    fn link(&self, (a, a_device): End, (b, b_device): End) -> Result<()> {
        let b_name = self.namespace(b).name();
        self.ip(a, &format!("link add {a_device} type veth peer name {b_device} netns {b_name}"))?;
        self.ip(a, &format!("link set {a_device} up"))?;
        self.ip(b, &format!("link set {b_device} up"))
    }

    /// Addresses of client and server on one link.
    fn neighbours(&self) -> Result<()> {
        for (host, [v4, v6]) in [(SERVER, SERVERS), (CLIENT, CLIENTS)] {
            self.ip(host, &format!("address add {v4}/30 dev veth0"))?;
            // Without "nodad" the address is not usable for the first second.
            self.ip(host, &format!("address add {v6}/64 dev veth0 nodad"))?;
        }
        Ok(())
    }

    /// A link with addresses of its own.
    fn transit(&self, link: u8, a: End, b: End) -> Result<()> {
        self.link(a, b)?;
        for (end, (host, device)) in (1..).zip([a, b]) {
            for (like, bits, how) in [(SERVERS[0], 24, ""), (SERVERS[1], 64, "nodad")] {
                let address = transit_address(link, end, like);
                self.ip(host, &format!("address add {address}/{bits} dev {device} {how}"))?;
            }
        }
        Ok(())
    }

    /// Addresses that a host has wherever its links lead.
    fn own(&self, host: &str, [v4, v6]: [IpAddr; 2]) -> Result<()> {
        self.ip(host, &format!("address add {v4}/32 dev lo"))?;
        self.ip(host, &format!("address add {v6}/128 dev lo nodad"))
    }

    /// The way to these addresses leads by one end of a link.
    fn route(&self, host: &str, to: [IpAddr; 2], link: u8, end: u8, from: Option<[IpAddr; 2]>) -> Result<()> {
        for (family, to) in to.into_iter().enumerate() {
            let source = from.map_or(String::new(), |from| format!("src {}", from[family]));
            self.ip(host, &format!("route add {to} via {} {source}", transit_address(link, end, to)))?;
        }
        Ok(())
    }
}

/// The address of one end of a link, of the same family as another one.
pub(crate) fn transit_address(link: u8, end: u8, like: IpAddr) -> IpAddr {
    if like.is_ipv4() {
        Ipv4Addr::new(10, 78, link, end).into()
    } else {
        Ipv6Addr::new(0xfd00, 0x78, link.into(), 0, 0, 0, 0, end.into()).into()
    }
}
