//! Only this host's traffic (T4): other hosts' servers on the same ports are as they are without http-guard.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};

use crate::lab::{ACCELERATED, Lab, PLAIN, SERVER_V4};
use crate::namespace::{Namespace, Place};
use crate::{PATIENCE, until};

const DENIED: &str = "[[rule]]\nname = \"denied\"\npath_prefix = \"/denied\"\naction = \"deny\"\n";

fn ip(place: &Place, line: &str) -> Result<()> {
    place.run_program("ip", &line.split(' ').collect::<Vec<_>>())
}

/// A server that answers one request on each connection with where it was asked, whatever for.
fn serve(place: &Place, port: u16) -> Result<()> {
    let listener = place.run(|| Ok(TcpListener::bind(("::", port))?))?;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let body = format!("other host's {port}");
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            // Who goes away has no answer.
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Ok(())
}

/// All that comes back for a request.
fn get(place: &Place, to: SocketAddr, path: &str) -> Result<String> {
    let mut stream = place.run(|| Ok(TcpStream::connect_timeout(&to, PATIENCE)?))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("{path} at {to}"))?;
    Ok(answer)
}

#[test]
fn a_host_that_forwards_leaves_other_servers_alone() {
    Lab::run(DENIED, |lab| {
        let (router, client) = (lab.server_place(), lab.client_place());
        let other = Namespace::create("forward-other")?;
        ip(router, &format!("link add lan0 type veth peer name veth0 netns {}", other.name()))?;
        for (place, device, last) in [(router, "lan0", 1), (other.place(), "veth0", 5)] {
            ip(place, &format!("address add 10.80.0.{last}/24 dev {device}"))?;
            ip(place, &format!("address add fd00:80::{last}/64 dev {device} nodad"))?;
            ip(place, &format!("link set {device} up"))?;
        }
        router.run(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            Ok(fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?)
        })?;
        for (place, v4, v6) in
            [(client, "10.78.0.1", "fd00:78::1"), (other.place(), "10.80.0.1", "fd00:80::1")]
        {
            ip(place, &format!("route add default via {v4}"))?;
            ip(place, &format!("-6 route add default via {v6}"))?;
        }
        until("the new interface's hooks", || {
            let hooked = |status: http_guard::telling::status::Status| {
                status.interfaces.iter().any(|one| one.name == "lan0" && one.path == "kernel")
            };
            Ok(hooked(lab.status()?).then_some(()))
        })?;
        let asked = lab.status()?.requests_total;
        for port in [PLAIN, ACCELERATED] {
            serve(other.place(), port)?;
            for address in ["10.80.0.5", "fd00:80::5"] {
                let address: IpAddr = address.parse()?;
                for path in ["/index.html", "/denied"] {
                    let answer = get(client, (address, port).into(), path)?;
                    ensure!(answer.ends_with(&format!("other host's {port}")), "{path}: {answer}");
                }
            }
        }
        ensure!(lab.status()?.requests_total == asked, "others' requests were read");
        // This host's own are judged, wherever they come from.
        for (from, to) in
            [(client, SERVER_V4), (other.place(), SERVER_V4), (other.place(), "10.80.0.1".parse()?)]
        {
            let answer = get(from, (to, ACCELERATED).into(), "/denied")?;
            ensure!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
            ensure!(get(from, (to, ACCELERATED).into(), "/index.html")?.starts_with("HTTP/1.1 200 "));
        }
        Ok(())
    });
}
