"""The node ``activesam``: its transitions, services, parameter changes and diagnostics.

It is a managed (lifecycle) node. Configuring loads the network and compiles the vocabulary,
activating subscribes to the images, deactivating unsubscribes, cleaning up frees the memory. With
``autostart`` the node configures and activates itself.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.time import Time
from std_srvs.srv import SetBool

from activesam_ros.errors import ActiveSamError, UsageError, shortened
from activesam_ros.node.budget.out_of_memory import is_out_of_memory
from activesam_ros.node.diagnostics import (
    Escalation,
    NetworkView,
    camera_health,
    network_health,
    status_message,
)
from activesam_ros.node.engine import (
    Engine,
    load_engine,
    release_memory,
    settle_memory,
    use_cpu_threads,
    warm_up,
)
from activesam_ros.node.frame_processor import VocabularyInUse
from activesam_ros.node.node_status import network_status_name
from activesam_ros.node.parameters.change_requests import LiveParameters
from activesam_ros.node.parameters.declare import declare_parameters
from activesam_ros.node.parameters.options import NodeOptions, NodeParameters
from activesam_ros.node.process import run_node
from activesam_ros.node.ros.callbacks import OneShotCallbacks, answer_every_transition
from activesam_ros.node.session import Session
from activesam_ros.node.statistics import FrameStatistics
from activesam_ros.pipeline import compiles
from activesam_ros.prompts.vocabulary_files import chosen_vocabulary, load_offered_vocabulary
from activesam_ros.recordings.image_encodings import load_converter
from activesam_ros.sam3.tokenizer import Tokenizer
from activesam_ros.srv import SetVocabulary

NODE_NAME = "activesam"
# Changed QoS profiles of publishers are followed within this time.
FOLLOW_PERIOD_S = 0.5


class SegmentNode(LifecycleNode):
    """Segments the images of a camera; see docs/node.md for topics, services and parameters."""

    def __init__(self) -> None:
        """Raises an ActiveSamError for parameters that cannot be used at all."""
        super().__init__(NODE_NAME)
        self._converter = load_converter()
        self._session: Session | None = None
        self._state = "unconfigured"
        self._failure: str | None = None
        self._version = 0
        self._stopping = False
        self._ending = False
        self._stopped = threading.Event()
        parameters = declare_parameters(self)
        self._first_vocabulary = parameters.options.vocabulary
        names = [source.name for source in parameters.inputs]
        self._statistics = {name: FrameStatistics() for name in names}
        self._escalations = {name: Escalation(time.monotonic) for name in names}
        self._live = LiveParameters(
            self, parameters, lambda: self._session is not None, self._apply_live
        )
        # Groups of their own for what must not wait for a transition or a compilation.
        self._compiling = MutuallyExclusiveCallbackGroup()
        self._watching = MutuallyExclusiveCallbackGroup()
        self._diagnosing = MutuallyExclusiveCallbackGroup()
        own_groups = (self._compiling, self._watching, self._diagnosing)
        self._one_shot = OneShotCallbacks(self, (self.default_callback_group, *own_groups))
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._diagnostics_timer = self._timer(
            parameters.options.diagnostics_period_s, self._diagnose, self._diagnosing
        )
        self._timer(FOLLOW_PERIOD_S, self._follow_publishers, self._watching)
        self.create_service(
            SetVocabulary, "~/set_vocabulary", self._set_vocabulary, callback_group=self._compiling
        )
        self.create_service(SetBool, "~/enable", self._enable)
        answer_every_transition(self, lambda: self._stopping)
        if parameters.options.autostart:
            self._one_shot.call(self._autostart, self.default_callback_group)

    def load_engine(self, options: NodeOptions) -> Engine:
        """Load the network; raises an ActiveSamError with the reason."""
        return load_engine(options)

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load network and vocabulary; after a failure the diagnostics hold the reason."""
        self._state = "configuring"
        self._failure = None
        try:
            self._refuse_when_stopping()  # after the state, which only_prepares tells
            self._session = self._make_session(self._live.current)
        except Exception as error:  # noqa: BLE001 - rclpy would hide the reason
            result = self._fail("Configuring", "unconfigured", error)
        else:
            settle_memory()
            self._state = "inactive"
            return super().on_configure(state)
        release_memory()  # after the error, whose traceback keeps tensors alive
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish the vocabulary and begin to segment."""
        result = super().on_activate(state)
        self._failure = None
        if self._session is not None:
            try:
                self._session.activate()
            except Exception as error:  # noqa: BLE001 - rclpy would hide the reason
                self._session.deactivate()
                super().on_deactivate(state)
                return self._fail("Activating", "inactive", error)
        self._state = "active"
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop segmenting; returns when the frames being segmented are published."""

        def deactivate() -> TransitionCallbackReturn:
            if self._session is not None:
                self._session.deactivate()
            self._state = "inactive"
            return super(SegmentNode, self).on_deactivate(state)

        return self._told("Deactivating", deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the network's memory."""

        def clean_up() -> TransitionCallbackReturn:
            result = super(SegmentNode, self).on_cleanup(state)
            self._close_session()
            self._state = "unconfigured"
            return result

        return self._told("Cleaning up", clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from any state."""
        self._stopping = True

        def shut_down() -> TransitionCallbackReturn:
            self._close_session()
            self._state = "finalized"
            return super(SegmentNode, self).on_shutdown(state)

        return self._told("Shutting down", shut_down)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition that raised an error: free everything and be unconfigured."""

        def free() -> TransitionCallbackReturn:
            self._state = "unconfigured"
            self._close_session()
            return super(SegmentNode, self).on_error(state)

        return self._told("Freeing everything", free)

    def _told(
        self, what: str, transition: Callable[[], TransitionCallbackReturn]
    ) -> TransitionCallbackReturn:
        """What ``transition`` returns; its errors are told, as rclpy only calls on_error."""
        try:
            return transition()
        except Exception as error:  # noqa: BLE001 - rclpy would hide the reason
            self._tell_failure(what, error)
            return TransitionCallbackReturn.ERROR

    def _fail(self, what: str, state: str, error: Exception) -> TransitionCallbackReturn:
        """Tell why a transition failed; the node stays in ``state``."""
        self._tell_failure(what, error)
        self._state = state
        return TransitionCallbackReturn.FAILURE

    def _tell_failure(self, what: str, error: Exception) -> None:
        """Log why a transition failed and keep the reason for the diagnostics."""
        self._failure = f"{what} failed: {shortened(str(error))}"
        expected = isinstance(error, ActiveSamError)
        if is_out_of_memory(error):
            expected = True
            self._failure += (
                " There is not enough memory; set bucket_size, resolution or camera_batch lower, "
                "or free the device, and configure again."
            )
        details = "" if expected else "\n" + "".join(traceback.format_exception(error)).rstrip()
        self.get_logger().error(f"{self._failure}{details}")

    def _make_session(self, parameters: NodeParameters) -> Session:
        options = parameters.options
        use_cpu_threads(options.cpu_threads)
        started_s = time.monotonic()
        engine = self.load_engine(options)
        tokenizer = Tokenizer()
        self._refuse_when_stopping()
        if options.classes.strip() or options.vocabulary == self._first_vocabulary:
            vocabulary = chosen_vocabulary(options.vocabulary, options.classes, tokenizer)
        else:  # a request over ROS has changed it
            vocabulary = load_offered_vocabulary(
                options.vocabulary, options.vocabulary_folders, tokenizer
            )
        compiled = engine.compile(vocabulary, parameters, self._refuse_when_stopping)
        if options.warm_up:
            if compiles(parameters.settings, torch.device(engine.device)):
                self.get_logger().info(
                    "Compiling the network. This takes minutes the first time; the result is "
                    "cached on disk. Set the parameter compile to never to do without."
                )
            warm_up(compiled, parameters, self._refuse_when_stopping)
        self._version += 1
        self.get_logger().info(
            f"Loaded {engine.weights} on {engine.device} ({engine.dtype}) and the vocabulary "
            f"{vocabulary.name} with {len(vocabulary.classes)} classes in "
            f"{time.monotonic() - started_s:.1f} s. Images are converted by "
            f"{self._converter.name}."
        )
        in_use = VocabularyInUse(compiled, self._version, parameters)
        return Session(self, engine, in_use, self._converter, self._statistics, tokenizer)

    def _refuse_when_stopping(self) -> None:
        if self._stopping:
            raise UsageError("the node is ending.")

    def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
            del session
            release_memory()

    def _autostart(self) -> None:
        if self._stopping or self._state != "unconfigured":
            return
        configured = self.trigger_configure() == TransitionCallbackReturn.SUCCESS
        if configured and not self._stopping:
            self.trigger_activate()

    # Shutting down

    def request_shutdown(self) -> threading.Event:
        """Begin to shut down; the event is set when the last frame is done and all is closed."""
        self._stopping = True
        session = self._session
        if session is not None:
            session.changes.refuse()
        self._one_shot.call(self._shut_down, self.default_callback_group)
        return self._stopped

    @property
    def only_prepares(self) -> bool:
        """Whether the node only loads, compiles or warms up, so that nothing has to be finished."""
        return self._state == "configuring" or self._ending

    def _shut_down(self) -> None:
        if self._state != "finalized":
            self.trigger_shutdown()
        # The timers are not cancelled: when a thread of the executor is about to call a timer that
        # is cancelled, rclpy never releases the timer's group.
        self._ending = True
        self._stop_after([self._compiling, self._watching, self._diagnosing])

    def _stop_after(self, groups: list[MutuallyExclusiveCallbackGroup]) -> None:
        """Report the end when the running callback of each of ``groups`` has returned."""
        if groups:
            self._one_shot.call(lambda: self._stop_after(groups[1:]), groups[0])
        else:
            self._stopped.set()

    # Services and parameters

    def set_parameters_atomically(self, parameter_list: Sequence[Parameter]) -> Any:
        """What every request for parameters calls; it may use old names and other types."""
        try:
            declared = self._live.as_declared(parameter_list)
        except ActiveSamError as error:
            return SetParametersResult(successful=False, reason=shortened(str(error)))
        return super().set_parameters_atomically(declared)

    def _apply_live(self, parameters: NodeParameters) -> None:
        if self._stopping:
            raise UsageError("The node is shutting down.")
        if self._session is not None:
            self._session.changes.apply_parameters(parameters)
        period_s = parameters.options.diagnostics_period_s
        if period_s != self._live.current.options.diagnostics_period_s:
            self._diagnostics_timer.timer_period_ns = int(period_s * 1e9)

    def _enable(self, request: Any, response: Any) -> Any:
        if self._stopping:
            response.success, response.message = False, "The node is shutting down."
            return response
        wanted = Parameter("enabled", Parameter.Type.BOOL, bool(request.data))
        result = self.set_parameters([wanted])[0]
        response.success = result.successful
        response.message = result.reason or (
            "Images are received and segmented." if request.data else "No image is received."
        )
        return response

    def _set_vocabulary(self, request: Any, response: Any) -> Any:
        session = self._session
        try:
            if session is None or self._stopping:
                raise UsageError(
                    f"The node is {'shutting down' if self._stopping else self._state}; configure "
                    "it before you set its vocabulary."
                )
            names = list(request.names)
            in_use, first_stamp_ns = session.changes.swap_vocabulary(request.preset, names)
        except ActiveSamError as error:
            response.success, response.message = False, shortened(str(error))
        except Exception as error:  # noqa: BLE001 - if it escaped, there would be no answer
            self.get_logger().error(traceback.format_exc())
            response.success = False
            response.message = shortened(f"{type(error).__name__}: {error}")
        else:
            vocabulary = in_use.compiled.vocabulary
            self._version = in_use.version
            response.success = True
            response.message = (
                f"The vocabulary {vocabulary.name} with {len(vocabulary.classes)} classes is "
                f"in use as version {in_use.version}."
            )
            if (dropped := in_use.compiled.dropped) is not None:
                response.message += f" It has no signatures: {dropped.reason}"
            response.effective_from = Time(nanoseconds=first_stamp_ns).to_msg()
            self.get_logger().info(response.message)
        response.version = self._version
        return response

    # Timers

    def _timer(self, period_s: float, callback: Callable[[], None], group: Any) -> Any:
        # Steady clock: the diagnostics go on while a recording that gives the time is paused.
        return self.create_timer(period_s, callback, callback_group=group, clock=self._steady)

    def _follow_publishers(self) -> None:
        session = self._session
        if session is not None and not self._ending:
            session.follow_publishers()

    def _diagnose(self) -> None:
        if self._ending:
            return
        options = self._live.current.options
        name = self.get_fully_qualified_name().lstrip("/")
        network = self._network_view()
        device = network.device or "none"
        statuses = [status_message(network_status_name(name), device, network_health(network))]
        session = self._session
        for view in () if session is None else session.camera_views():
            health = camera_health(view, options)
            health = self._escalations[view.name].apply(health, options.error_after_s)
            statuses.append(status_message(f"{name}: {view.name}", device, health))
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _network_view(self) -> NetworkView:
        session = self._session
        in_use = None if session is None else session.processor.in_use
        compiled = None if in_use is None else in_use.compiled
        return NetworkView(
            state=self._state,
            failure=self._failure,
            device=None if session is None else session.engine.device,
            dtype=None if session is None else session.engine.dtype,
            method=self._live.current.options.method,
            vocabulary=None if compiled is None else compiled.vocabulary.name,
            vocabulary_version=0 if in_use is None else in_use.version,
            vocabulary_size=0 if compiled is None else len(compiled.vocabulary.classes),
            cache_hit=None if compiled is None else compiled.cache_hit,
            signatures="none" if compiled is None else compiled.signatures,
            converter=self._converter.name,
            budget_level=None if session is None else session.processor.level,
            bucket_size=0 if session is None else session.processor.bucket_size,
            max_latency_ms=self._live.current.options.max_latency_ms,
            frames_waiting=0 if session is None else session.frames_waiting,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The executable ``segment_node``; returns the exit status."""
    return run_node(SegmentNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
