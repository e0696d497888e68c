<?php

// A whole Laravel application, of Debian's php-laravel-framework, behind PHP's own
// web server: sessions, cookies, CSRF protection, users, routes/channels.php and
// /broadcasting/auth are the framework's. LARAVEL_DIR is an empty directory for it.

namespace App\Realtime {
    /** The clock of a server that is LARAVEL_CLOCK seconds late: its tokens end sooner. */
    function time(): int
    {
        return \time() - (int) getenv('LARAVEL_CLOCK');
    }
}

namespace {
    require_once 'Illuminate/autoload.php';
    require __DIR__.'/events.php';

    use App\Realtime\RealtimeServiceProvider;
    use Illuminate\Auth\GenericUser;
    use Illuminate\Broadcasting\BroadcastController;
    use Illuminate\Broadcasting\PresenceChannel;
    use Illuminate\Broadcasting\PrivateChannel;
    use Illuminate\Contracts\Auth\Authenticatable;
    use Illuminate\Contracts\Auth\UserProvider;
    use Illuminate\Cookie\Middleware\AddQueuedCookiesToResponse;
    use Illuminate\Cookie\Middleware\EncryptCookies;
    use Illuminate\Filesystem\Filesystem;
    use Illuminate\Foundation\Application;
    use Illuminate\Foundation\Exceptions\Handler;
    use Illuminate\Foundation\Http\Kernel;
    use Illuminate\Foundation\Http\Middleware\VerifyCsrfToken;
    use Illuminate\Http\Request;
    use Illuminate\Routing\Middleware\SubstituteBindings;
    use Illuminate\Session\Middleware\StartSession;
    use Illuminate\Support\Facades\Auth;
    use Illuminate\Support\Facades\Broadcast;
    use Illuminate\Support\Facades\Route;
    use Illuminate\Support\ServiceProvider;
    use Tests\SaidNow;

    // As composer would find them in app/Realtime and app/Events.
    $examples = realpath(__DIR__.'/../../examples/laravel');
    spl_autoload_register(function (string $class) use ($examples): void {
        if (preg_match('/^App\\\\(Realtime|Events)\\\\(\w+)$/', $class, $match) && is_file("$examples/$match[2].php")) {
            require "$examples/$match[2].php";
        }
    });

    /** Users without a database. */
    class Users implements UserProvider
    {
        private const NAMES = [1 => 'Ann', 2 => 'Bob', 7 => 'Žofie', 42 => 'Zoe'];

        public function retrieveById($id): ?Authenticatable
        {
            $name = self::NAMES[$id] ?? null;

            return $name ? new GenericUser(['id' => (int) $id, 'name' => $name, 'remember_token' => null]) : null;
        }

        public function retrieveByToken($identifier, $token): ?Authenticatable
        {
            return null;
        }

        public function updateRememberToken(Authenticatable $user, $token): void
        {
        }

        public function retrieveByCredentials(array $credentials): ?Authenticatable
        {
            return null;
        }

        public function validateCredentials(Authenticatable $user, array $credentials): bool
        {
            return false;
        }
    }

    class WebKernel extends Kernel
    {
        protected $middlewareGroups = ['web' => [
            EncryptCookies::class, AddQueuedCookiesToResponse::class, StartSession::class, VerifyCsrfToken::class, SubstituteBindings::class,
        ]];
    }

    class AppServiceProvider extends ServiceProvider
    {
        public function boot(): void
        {
            Auth::provider('users', fn () => new Users());
            Broadcast::routes();
            require getenv('LARAVEL_CHANNELS') ?: __DIR__.'/../../examples/laravel/channels.php';

            // Only here to be refused, or to have a guard of its own.
            Broadcast::channel('anything.{name}', fn ($user, $name) => true);
            Broadcast::channel('staff.{id}', fn ($user) => ['name' => $user->name], ['guards' => ['admin']]);
            Broadcast::channel('large.{id}', fn ($user) => ['text' => str_repeat('x', 2000)]);

            Route::middleware('web')->group(function (): void {
                // With the CSRF protection that Laravel spares /broadcasting/auth.
                Route::post('/protected/auth', [BroadcastController::class, 'authenticate']);
                Route::get('/page', fn () => '<!doctype html><link rel="icon" href="data:,"><script type="importmap">{"imports":{"socket.io-client":"/files/client"}}</script>');
                Route::get('/files/{name}', fn (string $name) => response()->file(
                    ['client' => getenv('LARAVEL_CLIENT'), 'realtime' => __DIR__.'/../../examples/laravel/realtime.js'][$name],
                    ['Content-Type' => 'text/javascript'],
                ));
                Route::get('/login/{id}', function (Request $request, int $id) {
                    Auth::guard($request->query('guard'))->loginUsingId($id);

                    return ['user' => $id];
                });
                Route::post('/say/{channel}', function (Request $request, string $channel) {
                    broadcast(new SaidNow([new PrivateChannel($channel), new PresenceChannel($channel)], (string) $request->input('text')))->toOthers();
                });
            });
        }
    }

    $dir = getenv('LARAVEL_DIR');
    $app = new Application($dir);
    // What config/*.php and .env of an application say.
    $files = new Filesystem();
    foreach (['bootstrap/cache', 'config', 'storage/framework/views', 'storage/logs'] as $folder) {
        $files->ensureDirectoryExists("$dir/$folder");
    }
    foreach ([
        'app' => [
            'env' => 'production', 'debug' => false, 'key' => str_repeat('k', 32), 'cipher' => 'AES-256-CBC', 'timezone' => 'UTC', 'locale' => 'en',
            'providers' => [
                Illuminate\Auth\AuthServiceProvider::class, Illuminate\Broadcasting\BroadcastServiceProvider::class, Illuminate\Bus\BusServiceProvider::class,
                Illuminate\Cookie\CookieServiceProvider::class, Illuminate\Encryption\EncryptionServiceProvider::class,
                Illuminate\Filesystem\FilesystemServiceProvider::class, Illuminate\Foundation\Providers\FoundationServiceProvider::class,
                Illuminate\Queue\QueueServiceProvider::class, Illuminate\Session\SessionServiceProvider::class, Illuminate\View\ViewServiceProvider::class,
                RealtimeServiceProvider::class, AppServiceProvider::class,
            ],
        ],
        'auth' => [
            'defaults' => ['guard' => 'web'],
            'guards' => ['web' => ['driver' => 'session', 'provider' => 'users'], 'admin' => ['driver' => 'session', 'provider' => 'users']],
            'providers' => ['users' => ['driver' => 'users']],
        ],
        'broadcasting' => ['default' => 'realtime', 'connections' => array_filter(['realtime' => array_filter(['token_life' => (int) getenv('LARAVEL_TOKEN_LIFE')])])],
        'logging' => ['default' => 'single', 'channels' => ['single' => ['driver' => 'single', 'path' => "$dir/storage/logs/laravel.log"]]],
        'queue' => ['default' => 'sync', 'connections' => ['sync' => ['driver' => 'sync']], 'failed' => ['driver' => 'null']],
        'session' => ['driver' => 'cookie', 'lifetime' => 120, 'expire_on_close' => false, 'cookie' => 'session', 'path' => '/', 'domain' => null, 'secure' => false, 'http_only' => true, 'same_site' => 'lax', 'lottery' => [0, 100]],
        'view' => ['paths' => [], 'compiled' => "$dir/storage/framework/views"],
    ] as $name => $config) {
        $files->put("$dir/config/$name.php", '<?php return '.var_export($config, true).';');
    }
    $app->singleton(Illuminate\Contracts\Http\Kernel::class, WebKernel::class);
    $app->singleton(Illuminate\Contracts\Debug\ExceptionHandler::class, Handler::class);

    $kernel = $app->make(Illuminate\Contracts\Http\Kernel::class);
    $response = $kernel->handle($request = Request::capture())->send();
    $kernel->terminate($request, $response);
}
