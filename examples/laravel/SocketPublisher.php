<?php

namespace App\Realtime;

use Closure;
use JsonException;
use RuntimeException;
use SensitiveParameter;
use Throwable;

/**
 * Publishes events through the realtime gateway, which takes them to the
 * browsers. Needs PHP 8.1 with the curl extension, and nothing else: outside
 * of Laravel, require this file.
 *
 *     SocketPublisher::publish('orders.42', 'order.updated', ['id' => 42]);
 */
class SocketPublisher
{
    /** Messages in one request. */
    private const MOST = 100;

    private static ?Closure $resolver = null;

    private static ?self $fromEnvironment = null;

    private string $endpoint;

    /**
     * A publisher for one app of one gateway. To publish through it, call send.
     *
     * @param  string  $url  the gateway's origin, such as https://realtime.example.com
     * @param  float  $timeout  seconds that one call may take, its repeat included
     * @param  float  $connectTimeout  seconds of these for one connection
     * @param  string|null  $caFile  certificates to trust instead of the system's
     * @param  string  $path  the gateway's publish_path
     * @param  Closure(PublishException): void|null  $onRepeat  told before an event
     *                                                           is sent again; by default PHP's error log is
     */
    public function __construct(
        string $url,
        private string $appId,
        #[SensitiveParameter] private string $publishKey,
        private float $timeout = 5,
        private float $connectTimeout = 2,
        private ?string $caFile = null,
        string $path = '/publish',
        private ?Closure $onRepeat = null,
    ) {
        if (! preg_match('~^https?://[^/?#\s]+(/[^?#\s]*)?$~i', $url)) {
            throw PublishException::notConfigured('REALTIME_SOCKET_URL must be the gateway\'s origin, such as https://realtime.example.com.');
        }
        foreach (['REALTIME_APP_ID' => $appId, 'REALTIME_PUBLISH_KEY' => $publishKey] as $name => $value) {
            if (! preg_match('/^[\x21-\x7e]+$/D', $value)) {
                throw PublishException::notConfigured("$name is empty or has a space in it. Copy it again.");
            }
        }
        $this->endpoint = rtrim($url, '/').'/'.ltrim($path, '/');
    }

    /** Publishes for the app of the environment; in Laravel, for that of the connection "realtime". See send. */
    public static function publish(string $channel, string $event, mixed $data = NoData::None, ?string $except = null): string
    {
        $publisher = self::$resolver ? (self::$resolver)() : self::$fromEnvironment ??= self::fromEnvironment();

        return $publisher->send($channel, $event, $data, $except);
    }

    /** Publishes several events, like publish. See sendMany. */
    public static function publishMany(array $messages): array
    {
        $publisher = self::$resolver ? (self::$resolver)() : self::$fromEnvironment ??= self::fromEnvironment();

        return $publisher->sendMany($messages);
    }

    /** Says where publish gets its publisher from. With null, it is the environment again. */
    public static function resolveUsing(?Closure $resolver): void
    {
        self::$resolver = $resolver;
    }

    /** The app that REALTIME_SOCKET_URL (or REALTIME_URL), REALTIME_APP_ID and REALTIME_PUBLISH_KEY name. */
    public static function fromEnvironment(): self
    {
        $read = fn (string $name): string => (string) ($_ENV[$name] ?? $_SERVER[$name] ?? getenv($name));
        $settings = [
            'REALTIME_SOCKET_URL' => $read('REALTIME_SOCKET_URL') ?: $read('REALTIME_URL'),
            'REALTIME_APP_ID' => $read('REALTIME_APP_ID'),
            'REALTIME_PUBLISH_KEY' => $read('REALTIME_PUBLISH_KEY'),
        ];
        foreach ($settings as $name => $value) {
            if ($value === '') {
                throw PublishException::notConfigured("$name is not in the environment. Set it in .env; in Laravel, register RealtimeServiceProvider too, which is what finds it after config:cache.");
            }
        }

        return new self(...array_values($settings), caFile: $read('REALTIME_CA_FILE') ?: null, path: $read('REALTIME_PUBLISH_PATH') ?: '/publish');
    }

    /**
     * Publishes one event and returns the message's id. An event that did not
     * get through is sent again once, as repeatAfter says.
     *
     * @param  mixed  $data  whatever json_encode takes; null is sent as null, and without it the client's handler is called without an argument
     * @param  string|null  $except  the socket.id of one client that is left out
     *
     * @throws PublishException
     */
    public function send(string $channel, string $event, mixed $data = NoData::None, ?string $except = null): string
    {
        return $this->request(self::message($channel, $event, $data, $except))['id'];
    }

    /**
     * Publishes one event to several channels, up to 100 in one request, and
     * returns their ids. All of a request are published or none.
     *
     * @param  string[]  $channels
     * @return string[]
     *
     * @throws PublishException
     */
    public function sendToChannels(array $channels, string $event, mixed $data = NoData::None, ?string $except = null): array
    {
        $channels = array_values($channels);
        if (count($channels) === 1) {
            return [$this->send($channels[0], $event, $data, $except)];
        }
        $ids = [];
        foreach (array_chunk($channels, self::MOST) as $some) {
            $body = ['channels' => $some] + self::message('', $event, $data, $except);
            unset($body['channel']);
            array_push($ids, ...$this->ids($body, count($some)));
        }

        return $ids;
    }

    /**
     * Publishes several events in their order, up to 100 in one request, and
     * returns their ids. All of a request are published or none.
     *
     *     $publisher->sendMany([
     *         ['channel' => 'orders.42', 'event' => 'order.updated', 'data' => ['id' => 42]],
     *         ['channel' => 'orders.43', 'event' => 'order.deleted', 'history' => false],
     *     ]);
     *
     * @param  array<array{channel: string, event: string, data?: mixed, except?: string|null, history?: bool}>  $messages
     * @return string[]
     *
     * @throws PublishException
     */
    public function sendMany(array $messages): array
    {
        $ids = [];
        foreach (array_chunk(array_values($messages), self::MOST) as $some) {
            array_push($ids, ...$this->ids(['messages' => $some], count($some)));
        }

        return $ids;
    }

    private static function message(string $channel, string $event, mixed $data, ?string $except): array
    {
        $body = ['channel' => $channel, 'event' => $event];
        if ($data !== NoData::None) {
            $body['data'] = $data;
        }
        if ($except !== null) {
            $body['except'] = $except;
        }

        return $body;
    }

    /** Publishes a body of several messages; returns their ids. */
    private function ids(array $body, int $messages): array
    {
        return array_column($this->request($body, $messages)['results'], 'id');
    }

    /**
     * Sends a body, and once more with the same idempotency key as repeatAfter
     * says. Of several messages, their number is given.
     */
    private function request(array $body, ?int $messages = null): array
    {
        try {
            $json = json_encode($body, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION);
        } catch (JsonException $e) {
            throw new PublishException("The event cannot be sent as JSON: {$e->getMessage()}.", 'invalid_data', previous: $e);
        }

        $key = bin2hex(random_bytes(16));
        $deadline = microtime(true) + $this->timeout;
        try {
            return $this->post($json, $key, $deadline, $messages);
        } catch (PublishException $e) {
            $pause = self::repeatAfter($e);
            if ($pause === null || microtime(true) + $pause >= $deadline) {
                throw $e;
            }
        }
        $this->onRepeat ? ($this->onRepeat)($e) : error_log("realtime: an event is sent again: {$e->getMessage()}");
        usleep((int) ($pause * 1e6));

        return $this->post($json, $key, $deadline, $messages);
    }

    /**
     * Seconds until an event is sent again, or null where it is not: a refusal
     * stays one, and after a timeout there is no time left. A connection that
     * breaks may have carried the event to the gateway, which the idempotency
     * key keeps from publishing it twice.
     */
    private static function repeatAfter(PublishException $e): ?float
    {
        if (in_array($e->errorCode, ['unavailable', 'idempotency_in_progress'], true)) {
            return $e->retryAfter ?? 1;
        }
        $closed = [CURLE_COULDNT_CONNECT, CURLE_SSL_CONNECT_ERROR, CURLE_GOT_NOTHING, CURLE_SEND_ERROR, CURLE_RECV_ERROR, CURLE_PARTIAL_FILE];

        return in_array($e->getCode(), $closed, true) ? 0.1 : null;
    }

    /**
     * One request on a connection of its own: on one that was kept, libcurl
     * would send again by itself and tell nobody.
     */
    private function post(string $json, string $key, float $deadline, ?int $messages): array
    {
        if (! function_exists('curl_init')) {
            throw PublishException::notConfigured('PHP has no curl extension. Install it: php-curl, or docker-php-ext-install curl.');
        }
        $left = max(1, (int) (($deadline - microtime(true)) * 1000));
        $headers = [];
        $curl = curl_init();
        curl_setopt_array($curl, [
            CURLOPT_URL => $this->endpoint,
            CURLOPT_PROTOCOLS => CURLPROTO_HTTP | CURLPROTO_HTTPS,
            CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_1,
            CURLOPT_POSTFIELDS => $json,
            CURLOPT_HTTPHEADER => [
                'Content-Type: application/json',
                'Accept: application/json',
                "X-App-Id: $this->appId",
                "Authorization: Bearer $this->publishKey",
                "Idempotency-Key: $key",
            ],
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_HEADERFUNCTION => function ($curl, string $line) use (&$headers): int {
                [$name, $value] = explode(':', $line, 2) + [1 => ''];
                $headers[strtolower($name)] = trim($value);

                return strlen($line);
            },
            CURLOPT_TIMEOUT_MS => $left,
            CURLOPT_CONNECTTIMEOUT_MS => max(1, min($left, (int) ($this->connectTimeout * 1000))),
            CURLOPT_NOSIGNAL => true, // or a timeout below a second may be none
        ] + ($this->caFile === null ? [] : [CURLOPT_CAINFO => $this->caFile]));

        $answer = curl_exec($curl);
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        if ($answer === false) {
            throw $this->failure(curl_errno($curl), curl_error($curl), $status, curl_getinfo($curl, CURLINFO_PRETRANSFER_TIME) > 0);
        }

        return $this->receipts($answer, $status, $headers, $messages);
    }

    /** Why there was no whole answer, and whether the event may be out all the same. */
    private function failure(int $number, string $text, int $status, bool $sent): PublishException
    {
        return match (true) {
            ! $sent => new PublishException("The gateway at $this->endpoint cannot be reached: $text.", 'unreachable', $status, code: $number),
            $number === CURLE_OPERATION_TIMEDOUT => new PublishException("The gateway at $this->endpoint did not answer in time, so the event may have been published or not: $text.", 'timeout', $status, code: $number),
            default => new PublishException("The connection to $this->endpoint was lost before the answer, so the event may have been published or not: $text.", 'connection_lost', $status, code: $number),
        };
    }

    /** The answer with an id for each message, or the gateway's reason why there is none. */
    private function receipts(string $answer, int $status, array $headers, ?int $messages): array
    {
        $json = json_decode($answer, true);
        $receipts = $messages === null ? [$json] : (is_array($json['results'] ?? null) ? $json['results'] : []);
        $valid = array_filter($receipts, fn ($receipt) => is_string($receipt['id'] ?? null) && $receipt['id'] !== '');
        if ($status === 200 && count($valid) === count($receipts) && count($receipts) === ($messages ?? 1)) {
            return $json;
        }
        $retryAfter = ctype_digit($headers['retry-after'] ?? '') ? (int) $headers['retry-after'] : null;
        if (is_string($json['error']['code'] ?? null)) {
            throw new PublishException($json['error']['message'] ?? $json['error']['code'], $json['error']['code'], $status, $retryAfter);
        }
        $where = isset($headers['location']) ? " and points to {$headers['location']}" : '';
        $what = $answer === '' ? 'nothing' : substr(json_encode(substr($answer, 0, 200), JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES), 0, 300);
        throw new PublishException("$this->endpoint answered $status$where with $what, not as a realtime gateway does. Check REALTIME_SOCKET_URL.", 'unexpected_answer', $status, $retryAfter);
    }
}

/** Why an event was not published, or may not have been. */
class PublishException extends RuntimeException
{
    /**
     * @param  string  $message  what is wrong and what to do, for people
     * @param  string  $errorCode  the gateway's code, such as wrong_key_kind; or not_configured, invalid_data,
     *                             unreachable, timeout, connection_lost or unexpected_answer
     * @param  int  $status  the HTTP status, 0 without an answer
     * @param  int|null  $retryAfter  seconds after which to try again, where the gateway says so (429, 503)
     * @param  int  $code  libcurl's number, 0 with an answer
     */
    public function __construct(
        string $message,
        public readonly string $errorCode,
        public readonly int $status = 0,
        public readonly ?int $retryAfter = null,
        int $code = 0,
        ?Throwable $previous = null,
    ) {
        parent::__construct($message, $code, $previous);
    }

    public static function notConfigured(string $message): self
    {
        return new self($message, 'not_configured');
    }

    /** What Laravel writes into its log beside the message. */
    public function context(): array
    {
        return ['realtime' => ['code' => $this->errorCode, 'status' => $this->status, 'retry_after' => $this->retryAfter]];
    }
}

/** What data is when there is none, as null is a value. */
enum NoData
{
    case None;
}

// The name alone, for files without a namespace such as routes/web.php.
if (! class_exists('SocketPublisher', false)) {
    class_alias(SocketPublisher::class, 'SocketPublisher');
}
