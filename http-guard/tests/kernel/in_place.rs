//! Nginx's own port, guarded in place: there is no other port and no proxy, so what is not read must not pass.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::{ACCELERATED, CLIENT_V4, Lab, Mode, PAGE, PLAIN, SERVER_V4, SERVER_V6};
use crate::laboratory::{CLIENT, SERVER};
use crate::life::PRIVATE;
use crate::site::Site;
use crate::until;

/// What a client waits for that is to get no answer.
const SHORT: Duration = Duration::from_millis(1500);

/// Runs a test with these further lines of the configuration.
fn in_place(more: &str, test: impl FnOnce(&mut Lab) -> Result<()>) {
    Lab::run_on(Mode::InPlace, Site::Files, &format!("{more}{PRIVATE}"), test);
}

/// Checks that nothing that is denied has reached Nginx.
fn nothing_denied(lab: &Lab) -> Result<()> {
    let log = lab.access_log()?;
    ensure!(!log.contains("/private"), "a denied request reached Nginx:\n{log}");
    Ok(())
}

#[test]
fn rules_hold_on_nginx_s_own_port() {
    in_place("", |lab| {
        let status = lab.status()?;
        ensure!((status.listen_mode.as_str(), status.accelerated_port) == ("in-place", PLAIN), "{status}");
        for server in [SERVER_V4, SERVER_V6] {
            let mut client = lab.connect(server, PLAIN)?;
            for _ in 0..3 {
                ensure!(client.get("/private/a")?.status == 403, "it is denied");
                let response = client.get("/index.html")?;
                ensure!(response.status == 200 && response.body == PAGE, "{response:?}");
            }
        }
        // With MPTCP, which Nginx has not: its SYN-ACK says so, and the connection is one like any other.
        let mut client = lab.connect_to_proxy(SERVER_V4)?;
        ensure!(client.get("/private/b")?.status == 403, "it is denied");
        ensure!(client.get("/index.html")?.status == 200, "it is served");
        ensure!(lab.access_log()?.contains(&CLIENT_V4.to_string()), "clients come from their own address");
        let refused = lab.client_place().run(|| {
            Ok(std::net::TcpStream::connect(std::net::SocketAddr::new(SERVER_V4, ACCELERATED)).is_err())
        })?;
        ensure!(refused, "somebody listens on {ACCELERATED}");
        nothing_denied(lab)
    });
}

#[test]
fn what_is_older_than_the_programs_is_reset() {
    in_place("", |lab| {
        lab.stop_sidecar()?;
        let mut old = lab.client()?;
        ensure!(old.get("/index.html")?.status == 200, "nobody guards");
        lab.start_sidecar()?;
        ensure!(old.get("/private/old").is_err(), "an older connection goes on");
        ensure!(lab.client()?.get("/private/new")?.status == 403, "new ones are guarded");
        nothing_denied(lab)
    });
}

#[test]
fn a_connection_whose_handshake_nobody_saw_is_not_served() {
    // Where the server keeps what is half open, and where it keeps nothing.
    for cookies in ["1", "2"] {
        in_place("", |lab| {
            lab.network().sysctl(SERVER, "net.ipv4.tcp_syncookies", cookies)?;
            lab.stop_sidecar()?;
            // The client's acknowledgement is held back until the programs are there.
            let rule = "table inet own {\nchain output {\ntype filter hook output priority 0\n\
                        tcp flags & (syn | rst | ack) == ack drop\n}\n}";
            lab.network().rules(CLIENT, rule)?;
            let mut unseen = lab.client()?;
            lab.start_sidecar()?;
            lab.network().rules(CLIENT, "")?;
            unseen.stream().set_read_timeout(Some(SHORT))?;
            let served = unseen.get("/private/unseen");
            ensure!(served.is_err(), "cookies {cookies}: {served:?}");
            ensure!(lab.client()?.get("/index.html")?.status == 200, "others are served");
            nothing_denied(lab)
        });
    }
}

#[test]
fn addresses_that_are_left_out_are_nginx_s_alone() {
    in_place(&format!("[server]\naddresses = [\"{SERVER_V4}\"]\n"), |lab| {
        let (mut guarded, mut alone) = (lab.connect(SERVER_V4, PLAIN)?, lab.connect(SERVER_V6, PLAIN)?);
        for _ in 0..3 {
            ensure!(guarded.get("/private/a")?.status == 403, "it is denied");
            ensure!(alone.get("/private/alone")?.status == 404, "it is Nginx that answers");
        }
        ensure!(lab.status()?.connections == 1, "{}", lab.status()?);
        ensure!(!lab.access_log()?.contains("/private/a "), "{}", lab.access_log()?);
        Ok(())
    });
}

#[test]
fn a_full_table_lets_nobody_past() {
    in_place("[limits]\nflows_max = 4\n", |lab| {
        let mut there: Vec<_> = (0..4).map(|_| lab.client()).collect::<Result<_>>()?;
        for client in &mut there {
            ensure!(client.get("/private/a")?.status == 403, "it is denied");
        }
        let more = lab.connect_within(SERVER_V4, SHORT);
        ensure!(more.is_err(), "there is a connection more than the table has room for");
        let full = lab.status()?.segments["flow_table_full"];
        ensure!(full > 0, "it is not counted");
        drop(there);
        until("room", || Ok(lab.connect_within(SERVER_V4, SHORT).ok().map(drop)))?;
        nothing_denied(lab)
    });
}

#[test]
fn a_killed_agent_leaves_nginx_reachable_and_is_followed() {
    in_place("", |lab| {
        let mut client = lab.client()?;
        ensure!(client.get("/private/a")?.status == 403, "it is denied");
        nothing_denied(lab)?;
        lab.kill_sidecar()?;
        until("a lease that has lapsed", || Ok((client.get("/private/b")?.status == 404).then_some(())))?;
        let mut meanwhile = lab.client()?;
        ensure!(meanwhile.get("/private/c")?.status == 404, "nobody guards");
        lab.start_sidecar()?;
        for client in [&mut client, &mut meanwhile] {
            // What was to be refused and passed may still be unanswered, as far as is known: then the connection ends.
            let answer = client.get("/private/d");
            ensure!(answer.as_ref().map_or(true, |answer| answer.status == 403), "not denied: {answer:?}");
        }
        ensure!(lab.client()?.get("/private/d")?.status == 403, "it is denied again");
        ensure!(!lab.access_log()?.contains("/private/d"), "{}", lab.access_log()?);
        Ok(())
    });
}
