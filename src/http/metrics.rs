//! What the door counts, and how everything that is counted is shown: `/metrics`, in Prometheus' text format.
//!
//! **Invariant:** labels hold the templates of routes, never what a client sent.

use std::{collections::HashMap, fs, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use cendriix_actors::kit::{Meters, meters::Counted};
use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage},
    time::TimeValLike as _,
};
use prometheus::{
    Counter, Error, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, TextEncoder,
};

use super::{caller::is_same, error::ApiError, request::shaped, table::ROUTES};
use crate::{app::App, data_dir::DataDir, version::VERSION};

/// Seconds that requests take; streams end with their headers.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// How statuses are grouped.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Stands for every request that no route was found for.
const UNMATCHED: [&str; 2] = ["unmatched", "any"];

/// What the door counts. A clone counts the same.
#[derive(Clone, Debug)]
pub struct DoorMeters(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// Where the meters of a method and a route are.
    places: HashMap<(&'static str, &'static str), usize>,
    routes: Vec<RouteMeters>,
    unmatched: RouteMeters,
    connections: IntGauge,
    streams: IntGauge,
    process: Process,
}

/// What a route counts.
#[derive(Clone, Debug)]
struct RouteMeters {
    requests: [IntCounter; CLASSES.len()],
    seconds: Histogram,
    in_flight: IntGauge,
}

#[derive(Debug)]
struct Process {
    resident_bytes: IntGauge,
    open_files: IntGauge,
    open_files_max: IntGauge,
    cpu_seconds: Counter,
    started_at: Gauge,
    uptime: Gauge,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct InFlight<'a> {
    meters: &'a RouteMeters,
    _counted: Counted,
}

impl DoorMeters {
    /// Enters what the door counts beside the rest.
    ///
    /// # Errors
    ///
    /// When a name stands twice: a fault of the program.
    pub fn new(meters: &Meters) -> Result<Self, Error> {
        let registry = meters.registry();
        let labels = ["route", "method"];
        let opts = |name: &str, help: &str| Opts::new(name, help);
        let requests = IntCounterVec::new(
            opts("cendriix_http_requests_total", "Requests that were answered."),
            &["route", "method", "status"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "cendriix_http_request_duration_seconds",
                "How long requests took until their answer began.",
            )
            .buckets(SECONDS.to_vec()),
            &labels,
        )?;
        let in_flight = IntGaugeVec::new(
            opts("cendriix_http_requests_in_flight", "Requests that are being answered."),
            &labels,
        )?;
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, Error>(gauge)
        };
        let of = |[route, method]: [&str; 2]| RouteMeters {
            requests: CLASSES.map(|class| requests.with_label_values(&[route, method, class])),
            seconds: seconds.with_label_values(&[route, method]),
            in_flight: in_flight.with_label_values(&[route, method]),
        };
        let places = ROUTES.iter().enumerate().map(|(place, route)| ((route.method, route.path), place));
        let routes = ROUTES.iter().map(|route| of([route.path, route.method]));
        let made = Counts {
            places: places.collect(),
            routes: routes.collect(),
            unmatched: of(UNMATCHED),
            connections: gauge("cendriix_http_connections_open", "Connections that are open.")?,
            streams: gauge("cendriix_http_streams_open", "Event streams that are open.")?,
            process: Process::new(meters)?,
        };
        registry.register(Box::new(requests))?;
        registry.register(Box::new(seconds))?;
        registry.register(Box::new(in_flight))?;
        Ok(Self(Arc::new(made)))
    }

    /// A request begins to be answered.
    pub(super) fn begin(&self, method: &Method, route: &str) -> InFlight<'_> {
        // The router answers HEAD where it answers GET.
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        let places: &HashMap<(&str, &str), usize> = &self.0.places;
        let place = places.get(&(method, route)).copied();
        let meters = place.and_then(|place| self.0.routes.get(place)).unwrap_or(&self.0.unmatched);
        InFlight { meters, _counted: Counted::in_gauge(&meters.in_flight) }
    }

    /// A connection is open for as long as what comes back is there.
    pub(super) fn connection(&self) -> Counted {
        Counted::in_gauge(&self.0.connections)
    }
}

impl InFlight<'_> {
    /// It was answered.
    pub(super) fn answered(self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(requests) = self.meters.requests.get(class) {
            requests.inc();
        }
        self.meters.seconds.observe(took.as_secs_f64());
    }
}

impl Process {
    fn new(meters: &Meters) -> Result<Self, Error> {
        let registry = meters.registry();
        let number = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, Error>(gauge)
        };
        let real = |name: &str, help: &str| {
            let gauge = Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, Error>(gauge)
        };
        let cpu_seconds = Counter::new("process_cpu_seconds_total", "Processor time that was used.")?;
        registry.register(Box::new(cpu_seconds.clone()))?;
        let build = Opts::new("cendriix_build_info", "Always 1; its labels say what the program is.")
            .const_label("version", VERSION.version)
            .const_label("commit", VERSION.commit.unwrap_or_default());
        let build = IntGauge::with_opts(build)?;
        build.set(1);
        registry.register(Box::new(build))?;
        Ok(Self {
            resident_bytes: number("process_resident_memory_bytes", "Memory that the process takes.")?,
            open_files: number("process_open_fds", "Files that are open, connections among them.")?,
            open_files_max: number("process_max_fds", "Files that may be open.")?,
            cpu_seconds,
            started_at: real("process_start_time_seconds", "When the server started, since 1970.")?,
            uptime: real("cendriix_uptime_seconds", "How long the server has been there.")?,
        })
    }

    fn measure(&self, app: &App) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|text| text.split_whitespace().next()?.parse::<i64>().ok());
        self.resident_bytes.set(kib.unwrap_or(0) * 1024);
        let files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.open_files.set(number(files));
        if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            self.open_files_max.set(i64::try_from(soft).unwrap_or(i64::MAX));
        }
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let used = usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds();
            let used = Duration::from_millis(u64::try_from(used).unwrap_or(0)).as_secs_f64();
            // It only grows, so that what it stands at is added to.
            self.cpu_seconds.inc_by((used - self.cpu_seconds.get()).max(0.0));
        }
        let since = |millis: u64| Duration::from_millis(millis).as_secs_f64();
        self.started_at.set(since(app.began.0));
        self.uptime.set(app.clock.now().since(app.began).as_secs_f64());
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Everything that is counted, in Prometheus' text format.
fn text(app: &App) -> Result<Response, ApiError> {
    let (shared, store) = (&app.shared, app.shared.meters.store());
    shared.kinds.measure();
    app.models.measure();
    store.waiting.set(number(app.store.waiting()));
    let file = fs::metadata(DataDir::at(app.data.path()).store()).map_or(0, |file| file.len());
    store.file_bytes.set(i64::try_from(file).unwrap_or(i64::MAX));
    app.door.0.streams.set(number(app.streams.taken()));
    app.door.0.process.measure(app);
    let families = shared.meters.registry().gather();
    let text = TextEncoder::new().encode_to_string(&families).map_err(|error| {
        tracing::error!(%error, "what is counted cannot be written");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "what is counted cannot be written")
    })?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

/// Shows it to whoever brings the token for metrics, or the operator's secret.
pub(super) async fn guarded(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let given = given.map_or("", |(_, token)| token.trim());
    let token = &app.config.admin.metrics_token;
    let opens = |secret: &str| !secret.is_empty() && is_same(given, secret);
    if opens(token.reveal()) || opens(&app.control_token) {
        text(&app)
    } else {
        Err(ApiError::unauthorized(
            "this needs admin.metrics_token, or the secret of the data directory, as Authorization: Bearer",
        ))
    }
}

/// Shows it to everybody who reaches the second address, unless there is a token.
async fn open(State(app): State<App>, headers: HeaderMap) -> Response {
    let id = app.clock.id().to_string();
    let is_open = app.config.admin.metrics_token.is_empty();
    let answer = if is_open { text(&app) } else { guarded(State(app), headers).await };
    shaped(answer.into_response(), &id, false)
}

/// What is served at the second address.
pub fn admin(app: App) -> Router {
    Router::new()
        .route("/metrics", get(open))
        .route("/healthz", get(super::operations::healthz))
        .route("/readyz", get(super::operations::readyz))
        .with_state(app)
}
