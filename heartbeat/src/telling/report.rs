//! Gathers the status and the metrics from what runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use heartbeat_fastpath::echo::EchoOutcome;
use heartbeat_fastpath::refusal::Refusal;
use heartbeat_fastpath::respond::Outcome;
use prometheus::Registry;
use xps_runtime::metrics::Common;
use xps_runtime::plan::{Path, Plan};
use xps_runtime::status::causes;

use crate::abi;
use crate::config::Current;
use crate::config::reload::Reloader;
use crate::here::Here;
use crate::hook::Runner;
use crate::members::follow::Directory;
use crate::path::Answers;
use crate::path::kernel::Kernel;
use crate::path::user::UserTables;
use crate::prober::Prober;
use crate::prober::counts::Counts;
use crate::prober::event::{Member, State};
use crate::sessions::Sessions;
use crate::telling::metrics;
use crate::telling::status::{Interface, Node, Status};

/// Everything that can be reported on.
pub struct Report {
    /// The path that is taken, and why.
    pub plan: Plan,
    /// The configuration.
    pub config: Arc<Current>,
    /// What answers in the stack, if anything does.
    pub kernel: Option<Arc<Kernel>>,
    /// What answers in the agent.
    pub user: Arc<UserTables>,
    /// Who knows how members are.
    pub prober: Arc<Prober>,
    /// What the prober counts.
    pub counts: Counts,
    /// Who the members are.
    pub directory: Arc<Directory>,
    /// The nodes of this host.
    pub here: Arc<Here>,
    /// The sessions of BFD, if there are some.
    pub sessions: Option<Arc<Sessions>>,
    /// The hook's command.
    pub hook: Arc<Runner>,
    /// What became of reloads.
    pub reloader: Arc<Reloader>,
    /// What every service tells.
    pub common: Common,
}

impl Report {
    /// What is told of every service, with the metrics of these parts.
    ///
    /// # Errors
    /// If the metrics contradict each other, which is a mistake of this program.
    pub fn common(
        plan: &Plan,
        counts: &Counts,
        directory: &Directory,
        hook: &Runner,
        reloader: &Reloader,
    ) -> prometheus::Result<Common> {
        let registry = Registry::new();
        let common = Common::new(registry.clone(), "heartbeat", env!("CARGO_PKG_VERSION"), abi::VERSION)?;
        common.set_path(plan);
        let others = counts.collectors().into_iter().chain(reloader.reloads().collectors());
        others.into_iter().try_for_each(|collector| registry.register(collector))?;
        registry.register(Box::new(directory.count.clone()))?;
        registry.register(Box::new(directory.failures.clone()))?;
        registry.register(Box::new(hook.runs.clone()))?;
        Ok(common)
    }

    /// The status now.
    ///
    /// # Errors
    /// If the prober has ended.
    pub async fn status(&self) -> Result<Status> {
        Ok(self.status_with(&self.prober.view().await?).await)
    }

    async fn status_with(&self, members: &[Member]) -> Status {
        let (bfd, bfd_unclaimed) = match &self.sessions {
            Some(sessions) => (sessions.views().await, sessions.unclaimed().await),
            None => Default::default(),
        };
        let config = self.config.read();
        let mut by_state: BTreeMap<_, _> = State::ALL.map(|state| (state.label().to_owned(), 0)).into();
        for member in members {
            *by_state.entry(member.state.label().to_owned()).or_default() += 1;
        }
        let nodes = self.here.leases().into_iter().map(|lease| Node { id: lease.node, lease: Some(lease) });
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            path: self.plan.path.label().to_owned(),
            path_causes: causes(&self.plan),
            cluster: format!("{:#x}", config.cluster.0),
            key: config.ring.sending.id.number(),
            nodes: nodes.collect(),
            members: by_state,
            lease_calls_refused: self.here.calls_refused(),
            bfd,
            bfd_unclaimed,
            member_failures: self.directory.now_failing(),
            local_health: self.counts.local_health.get(),
            configuration: self.reloader.reloads().into(),
            ..Status::default()
        };
        self.of_tables(&mut status);
        if let Some(kernel) = &self.kernel {
            of_kernel(kernel, &mut status);
        }
        status
    }

    /// Adds what became of datagrams, in the stack and in the agent.
    fn of_tables(&self, status: &mut Status) {
        let of_kernel = self.kernel.as_ref().map(|kernel| (Path::Kernel, kernel.counts()));
        for (path, counts) in of_kernel.into_iter().chain([(Path::User, self.user.counts())]) {
            let counted = |outcome: Outcome| counts.get(outcome.index()).copied().unwrap_or_default();
            for (suffix, outcome) in [("", Outcome::Answered), ("_degraded", Outcome::AnsweredDegraded)] {
                status.replies.insert(format!("{}{suffix}", path.label()), counted(outcome));
            }
            for refusal in Refusal::ALL {
                let dropped = counted(Outcome::Dropped(*refusal));
                *status.dropped.entry(refusal.label().to_owned()).or_default() += dropped;
            }
        }
    }

    /// The metrics now, in Prometheus' text format.
    ///
    /// # Errors
    /// If they cannot be written as text, or the prober has ended.
    pub async fn metrics(&self) -> Result<String> {
        let members = self.prober.view().await?;
        if let Some(kernel) = &self.kernel {
            self.common.set_programs(&kernel.runs());
        }
        let status = self.status_with(&members).await;
        Ok(self.common.text()? + &metrics::text(&status, &members)?)
    }
}

fn of_kernel(kernel: &Kernel, status: &mut Status) {
    let echoes = EchoOutcome::ALL.iter().zip(kernel.echo_counts());
    status.echoes = echoes.map(|(outcome, count)| (outcome.label().to_owned(), count)).collect();
    status.interfaces = kernel
        .interfaces()
        .into_iter()
        .map(|interface| Interface {
            name: interface.name,
            place: interface.place.to_owned(),
            cause: interface.cause,
        })
        .collect();
    let verified = kernel.verified_instructions();
    status.verified_instructions =
        verified.iter().map(|(name, count)| ((*name).to_owned(), u64::from(*count))).collect();
    status.memory = kernel.memory_bytes();
}
